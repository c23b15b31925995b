"""What the page says, before anything is drawn: sections of words, pictures and tables as plain values."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import TypeAlias

Cell: TypeAlias = str


class Tone(StrEnum):
    """What a colour is for; the palette says which one it is, in the light and in the dark."""

    INK = "ink"
    DIM = "dim"
    GRID = "grid"
    PAPER = "paper"
    BLUE = "blue"
    ORANGE = "orange"
    GREEN = "green"
    PURPLE = "purple"
    BAD = "bad"


SERIES: tuple[Tone, ...] = (Tone.BLUE, Tone.ORANGE, Tone.GREEN, Tone.PURPLE)
"""Tones of lines beside each other."""


class Look(Enum):
    """How final a point is."""

    OPEN = "labels are still coming"
    FINAL = "mature"
    AMENDED = "amended since"


class Unit(Enum):
    """What the numbers of an axis are."""

    SHARE = "share"
    WHOLE = "share of a whole, from 0 to 100 %"
    NUMBER = "number"
    DURATION = "duration"


@dataclass(frozen=True, slots=True)
class Point:
    """One window on a line; without a value the line is interrupted."""

    at: datetime
    value: float | None
    lo: float | None = None
    hi: float | None = None
    look: Look = Look.FINAL


@dataclass(frozen=True, slots=True)
class Line:
    """Points in the order of time. `dashed` lines are estimates."""

    name: str
    tone: Tone
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A level to compare a line with. `name` says what it is, and how high."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One system of axes."""

    title: str
    unit: Unit
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...] = ()


class Happening(Enum):
    """What can be marked on the time axis."""

    RAISED = "alert raised"
    ESCALATED = "alert escalated"
    CLEARED = "alert cleared"
    REQUESTED = "retraining asked for"
    PROPOSED = "candidate proposed"
    REFUSED = "candidate refused, or none made"
    PROMOTED = "new version in force"
    ROLLED_BACK = "earlier version in force again"

    @property
    def lane(self) -> str:
        """The row that it is drawn in."""
        return _LANES[self]


_LANES = {
    Happening.RAISED: "alerts",
    Happening.ESCALATED: "alerts",
    Happening.CLEARED: "alerts",
    Happening.REQUESTED: "retraining",
    Happening.PROPOSED: "retraining",
    Happening.REFUSED: "retraining",
    Happening.PROMOTED: "version",
    Happening.ROLLED_BACK: "version",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at an event time."""

    at: datetime
    happening: Happening
    text: str


@dataclass(frozen=True, slots=True)
class Era:
    """The time in which most predictions came from one version."""

    version: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over event time, with what happened below them."""

    alt: str
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...] = ()
    eras: tuple[Era, ...] = ()


@dataclass(frozen=True, slots=True)
class Heat:
    """A strip of cells per row over event time: the stronger, the larger the value; from `floor` on it matters."""

    alt: str
    rows: tuple[str, ...]
    columns: tuple[tuple[datetime, datetime], ...]
    cells: tuple[tuple[float | None, ...], ...]
    floor: float


Picture: TypeAlias = Chart | Heat


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text. The names in `numbers` are columns that stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page.

    Attributes:
        name: Its place in the page's address.
        title: Its heading.
        text: Paragraphs.
        pictures: What is drawn, each from what the table holds.
        table: The numbers. Folded away below a picture, open where there is none.
        missing: What to do so that there is something to see; empty where there is.
    """

    name: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    table: Table | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure at the head of the page."""

    name: str
    value: str
    note: str = ""
    tone: Tone = Tone.INK


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report."""

    title: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    made_at: datetime
