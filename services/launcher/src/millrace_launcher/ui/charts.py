"""Lines over time as drawings of our own: scaled to whatever width there is, with words beside them and not in them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from millrace_launcher.ui.words import moment

WIDTH: Final = 600
HEIGHT: Final = 120
_STEPS: Final[tuple[float, ...]] = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
_DAY_MS: Final = 86_400_000
_MOST: Final = 180
"""Points of a line: more are not seen on any screen."""

Values = Sequence[float | None]
Say = Callable[[float | None], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: What it shows.
        look: Which of the looks of the style sheet: `main`, `second`, `bad`.
        values: A value for each time; None is a gap.
    """

    name: str
    look: str
    values: Values


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line as the page needs it."""

    name: str
    look: str
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as the page needs it.

    Attributes:
        title: What is charted.
        lines: The lines.
        rule: Height of the level that is drawn across, and its words; None for none.
        ticks: The words at the top, the middle and the bottom.
        begin: When it begins, in words.
        end: When it ends, in words.
        summary: All of it in a sentence, for who does not see it.
    """

    title: str
    lines: tuple[Drawn, ...]
    rule: tuple[float, str] | None
    ticks: tuple[str, str, str]
    begin: str
    end: str
    summary: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(line.path for line in self.lines)


def chart(
    title: str,
    times_ms: Sequence[float],
    lines: Iterable[Line],
    *,
    say: Say,
    rule: tuple[float, str] | None = None,
    bounds: tuple[float, float] | None = None,
) -> Chart:
    """Draw lines over time.

    Args:
        title: What is charted.
        times_ms: The times, ascending, milliseconds since 1970.
        lines: The lines, each with as many values.
        say: Says a value.
        rule: A level to draw across, and its words.
        bounds: The lowest and the highest value; from 0 to what fits all where absent.
    """
    given = tuple(lines)
    low, high = bounds or (0.0, _round_up(_largest(given, rule)))
    begin, end = (times_ms[0], times_ms[-1]) if times_ms else (0.0, 0.0)
    drawn = tuple(
        Drawn(line.name, line.look, _path(times_ms, line.values, low=low, high=high), say(_latest(line.values)))
        for line in given
    )
    return Chart(
        title=title,
        lines=drawn,
        rule=None if rule is None else (_height(rule[0], low, high), rule[1]),
        ticks=(say(high), say((low + high) / 2), say(low)),
        begin=_moment(begin, end - begin) if times_ms else "",
        end=_moment(end, end - begin) if times_ms else "",
        summary=f"{title}: {', '.join(f'{line.name} {line.latest}' for line in drawn)}",
    )


def _moment(at_ms: float, length_ms: float) -> str:
    """The time of day, or the day where a time of day would say nothing."""
    day, time = moment(at_ms).split()
    return day if length_ms >= _DAY_MS else time[:5]


def _path(times_ms: Sequence[float], values: Values, *, low: float, high: float) -> str:
    """The line as an SVG path, with a new beginning after each gap."""
    if len(times_ms) < 2:
        return ""
    begin, length = times_ms[0], max(times_ms[-1] - times_ms[0], 1)
    parts = []
    is_new = True
    for at, value in _thinned(times_ms, values):
        if value is None:
            is_new = True
            continue
        x = WIDTH * (at - begin) / length
        parts.append(f"{'M' if is_new else 'L'}{x:.1f} {_height(value, low, high):.1f}")
        is_new = False
    return "".join(parts)


def _thinned(times_ms: Sequence[float], values: Values) -> list[tuple[float, float | None]]:
    """At most so many points as are seen: of those that fall together the highest, which is what one looks for."""
    step = -(-len(times_ms) // _MOST)
    found = []
    for begin in range(0, len(times_ms), step):
        here = [value for value in values[begin : begin + step] if value is not None]
        found.append((times_ms[min(begin + step, len(times_ms)) - 1], max(here) if here else None))
    return found


def _height(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.0
    return HEIGHT * (1 - min(max(share, 0.0), 1.0))


def _largest(lines: Sequence[Line], rule: tuple[float, str] | None) -> float:
    known: list[float] = [value for line in lines for value in line.values if value is not None]
    if rule is not None:
        known.append(rule[0] * 1.1)
    return max(known, default=0.0)


def _round_up(value: float) -> float:
    """The next number above that reads well.

    >>> _round_up(0.0), _round_up(7.2), _round_up(130), _round_up(0.023)
    (1.0, 8.0, 150.0, 0.03)
    """
    if value <= 0:
        return 1.0
    unit = float(f"1e{floor(log10(value))}")
    return next(round(step * unit, 12) for step in _STEPS if step * unit >= value)


def _latest(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)
