"""What the loop has to reach, and whether it did."""

from dataclasses import dataclass
from typing import Final

from examples.weather.loop import Loop
from examples.weather.tally import CHANGE, Tally

FEATURE: Final = "sea_level_pressure"
"""The measurement that changes most near `CHANGE`: from then on a year of it is 0.6 away from the years before (KS)."""

QUIET_UNTIL: Final = 11_900
NAMED_WITHIN: Final = 150
PROMOTED_WITHIN: Final = 600
SETTLED: Final = 13_000
ACCURACY: Final = 0.72


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing to reach.

    Attributes:
        what: What, and how much of it.
        found: What was found.
        is_met: Whether that is enough.
    """

    what: str
    found: str
    is_met: bool


def bars(loop: Loop, tally: Tally) -> tuple[Bar, ...]:
    """All of them. The loop knows none of these figures; they are for whoever judges it."""
    asked, named = loop.first_request, loop.first_named(FEATURE)
    changed = min((day for version, day in tally.versions.items() if version > 1), default=None)
    settled = tally.period(SETTLED, tally.end)
    return (
        Bar(
            f"no retrain request before day {QUIET_UNTIL:,}",
            _on(asked),
            asked is not None and asked >= QUIET_UNTIL,
        ),
        Bar(
            f"{FEATURE} first named within {NAMED_WITHIN} days of day {CHANGE:,}",
            "never" if named is None else f"day {named:,}: {', '.join(loop.named_on(named))}",
            named is not None and CHANGE <= named <= CHANGE + NAMED_WITHIN,
        ),
        Bar(
            f"a better version at work within {PROMOTED_WITHIN} days of it",
            _on(changed),
            changed is not None and CHANGE <= changed <= CHANGE + PROMOTED_WITHIN,
        ),
        Bar(
            f"right on {ACCURACY:.0%} of the days from day {SETTLED:,} on",
            f"{settled.accuracy:.1%}",
            settled.accuracy >= ACCURACY,
        ),
    )


def _on(day: int | None) -> str:
    return "never" if day is None else f"day {day:,}"
