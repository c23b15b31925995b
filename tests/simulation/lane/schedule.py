"""What happens to a simulated mill, and when: a list of events, drawn from a seed before anything runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from random import Random
from typing import TypeAlias

from millrace.testing.memory import Point

SLOTS = 3


class Fate(Enum):
    """What happens to a worker at a point."""

    CRASH = "crash"
    FREEZE = "freeze"
    """It stops for longer than its session and its transaction, while the others go on."""
    REFUSE = "refuse"
    """The broker refuses the step; the transaction can be aborted."""
    LOSE = "lose"
    """Nobody can tell whether the step was done."""
    AWAY = "away"
    """The broker does not answer."""


POSSIBLE = {
    Point.INIT: (Fate.CRASH, Fate.FREEZE, Fate.AWAY),
    Point.READ: (Fate.CRASH, Fate.FREEZE, Fate.AWAY),
    Point.BEGIN: (Fate.CRASH, Fate.FREEZE, Fate.LOSE),
    Point.SEND: (Fate.CRASH, Fate.FREEZE, Fate.REFUSE, Fate.LOSE),
    Point.FLUSH: (Fate.CRASH, Fate.FREEZE, Fate.REFUSE, Fate.LOSE),
    Point.SEND_OFFSETS: (Fate.CRASH, Fate.FREEZE, Fate.REFUSE, Fate.LOSE),
    Point.COMMIT: (Fate.CRASH, Fate.FREEZE, Fate.REFUSE, Fate.LOSE),
    Point.REPLY: (Fate.CRASH, Fate.FREEZE, Fate.LOSE),
    Point.ABORT: (Fate.CRASH, Fate.FREEZE, Fate.LOSE),
}


@dataclass(frozen=True, slots=True)
class Arrive:
    """Records are written to the input."""

    records: int


@dataclass(frozen=True, slots=True)
class Turns:
    """A worker's loop takes turns."""

    slot: int
    count: int


@dataclass(frozen=True, slots=True)
class Strike:
    """The next time that the worker comes to this point, this happens."""

    slot: int
    point: Point
    fate: Fate


@dataclass(frozen=True, slots=True)
class Start:
    """A worker is started in a slot that has none; or, where there is one, asked to finish and leave."""

    slot: int


@dataclass(frozen=True, slots=True)
class SlowModel:
    """The worker's next batch takes this much longer to score."""

    slot: int
    span: timedelta


@dataclass(frozen=True, slots=True)
class NoScore:
    """The worker's next batch cannot be scored at the first attempt."""

    slot: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The worker's commits take a step whenever it has come to so many points, from now on; 0 is at once."""

    slot: int
    pace: int


@dataclass(frozen=True, slots=True)
class Markers:
    """Commits are answered before their markers are written, from now on until this happens again."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes."""

    span: timedelta


@dataclass(frozen=True, slots=True)
class Roll:
    """The aliases move: a rollout begins or ends. Every worker knows it at its next turn."""


Event: TypeAlias = Arrive | Turns | Strike | Start | SlowModel | NoScore | Settle | Markers | Pass | Roll


def draw(random: Random, events: int = 120) -> list[Event]:
    """A schedule that begins with all workers started."""
    return [*map(Start, range(SLOTS)), Arrive(10), *(_event(random) for _ in range(events))]


def with_rolls(schedule: Sequence[Event], random: Random, rolls: int = 5) -> list[Event]:
    """The same schedule with aliases that move somewhere in it."""
    places = sorted(random.choices(range(len(schedule)), k=rolls), reverse=True)
    rolled = list(schedule)
    for place in places:
        rolled.insert(place, Roll())
    return rolled


def _event(random: Random) -> Event:
    slot = random.randrange(SLOTS)
    point = random.choice(list(POSSIBLE))
    possible: list[Event] = [
        Turns(slot, random.randint(1, 8)),
        Strike(slot, point, random.choice(POSSIBLE[point])),
        Arrive(random.randint(1, 12)),
        Start(slot),
        Markers(),
        Pass(timedelta(seconds=random.choice((0.1, 1, 7)))),
        SlowModel(slot, timedelta(seconds=random.choice((1, 9, 12)))),
        NoScore(slot),
        Settle(slot, random.choice((0, 1, 3, 9))),
    ]
    return random.choices(possible, weights=(50, 20, 15, 6, 6, 4, 3, 2, 6))[0]


def shrink(schedule: Sequence[Event], fails: Callable[[Sequence[Event]], bool]) -> list[Event]:
    """A schedule that still fails and from which no event can be left out."""
    kept = list(schedule)
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            shorter = kept[:start] + kept[start + size :]
            if fails(shorter):
                kept = shorter
            else:
                start += size
        size //= 2
    return kept
