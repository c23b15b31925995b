"""How what happened is marked, and in which row a label has room."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from millrace.client.report.model import Happening, Mark, Tone


@dataclass(frozen=True, slots=True)
class Marking:
    """Shape and colour of a mark; shapes differ so that nobody needs the colour.

    Attributes:
        shape: The drawing library's letter for it.
        sign: The character that looks like it, for the legend.
        tone: Its colour.
        size: In points.
        is_filled: Whether it is full or an outline.
    """

    shape: str
    sign: str
    tone: Tone
    size: float = 7.0
    is_filled: bool = True


_MARKINGS: Final = {
    Happening.RAISED: Marking("^", "▲", Tone.BAD),
    Happening.ESCALATED: Marking("H", "⬢", Tone.BAD, 8.0),
    Happening.CLEARED: Marking("v", "▽", Tone.BLUE, 6.0, is_filled=False),
    Happening.REQUESTED: Marking("o", "●", Tone.BLUE, 6.5),
    Happening.PROPOSED: Marking("D", "◇", Tone.BLUE, 6.0, is_filled=False),
    Happening.REFUSED: Marking("X", "✖", Tone.BAD, 6.5),
    Happening.PROMOTED: Marking("*", "★", Tone.BLUE, 11.0),
    Happening.ROLLED_BACK: Marking("<", "◀", Tone.BAD, 8.0),
}
_LANES: Final = ("alerts", "retraining", "version")


def marking(happening: Happening) -> Marking:
    """How it is marked."""
    return _MARKINGS[happening]


def lanes(marks: Sequence[Mark], *, has_eras: bool) -> tuple[str, ...]:
    """The rows that are needed below a chart, from above."""
    used = {mark.happening.lane for mark in marks} | ({"version"} if has_eras else set())
    return tuple(lane for lane in _LANES if lane in used)


def pack(spans: Sequence[tuple[float, float]], *, most: int) -> list[int | None]:
    """The row of each span, the first in which it covers no earlier one; None where all rows are taken.

    >>> pack([(0.0, 2.0), (1.0, 3.0), (2.5, 4.0), (2.6, 2.9)], most=2)
    [0, 1, 0, None]
    """
    rows: list[list[tuple[float, float]]] = [[] for _ in range(most)]
    placed: list[int | None] = []
    for span in spans:
        free = (row for row, taken in enumerate(rows) if _has_room(span, taken))
        row = next(free, None)
        placed.append(row)
        if row is not None:
            rows[row].append(span)
    return placed


def _has_room(span: tuple[float, float], taken: Sequence[tuple[float, float]]) -> bool:
    return all(span[1] <= start or end <= span[0] for start, end in taken)
