"""What happened, in a strip below a chart: a lane for each kind, with as many rows as the labels need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes

from millrace.client.report.canvas import SMALL, Width, place, shortened, style
from millrace.client.report.marking import lanes, marking, pack
from millrace.client.report.model import Chart, Mark, Tone
from millrace.client.report.palette import placeholder

_MOST_ROWS: Final = 6
_LETTER_INCHES: Final = 0.068
_SIGN_INCHES: Final = 0.11
"""Half the width of a mark, with room to spare."""
_MARGIN_INCHES: Final = 0.9
"""What the names of the lanes take from the width."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A mark in its row. Its label stands on the right, on the left, or nowhere where there is no room for it."""

    mark: Mark
    row: int
    side: str


@dataclass(frozen=True, slots=True)
class Lane:
    """Marks of one kind, from this row on."""

    name: str
    top: int
    rows: int
    marks: tuple[Placed, ...]


def place_lanes(chart: Chart, width: Width, limits: tuple[float, float]) -> tuple[Lane, ...]:
    """Give each mark between the limits a row in which its label covers no other; the last row is for all the rest."""
    first, last = limits
    inch = (last - first) / (width.value - _MARGIN_INCHES)
    placed: list[Lane] = []
    for name in lanes(chart.marks, has_eras=bool(chart.eras)):
        top = sum(lane.rows for lane in placed)
        marks = [mark for mark in chart.marks if mark.happening.lane == name and first <= place(mark.at) <= last]
        sides = ["left" if place(mark.at) + _length(mark) * inch > last else "right" for mark in marks]
        spans = [_span(mark, side, inch) for mark, side in zip(marks, sides, strict=True)]
        rows = pack(spans, most=_MOST_ROWS)
        labelled = 1 + max((row for row in rows if row is not None), default=0)
        of_lane = tuple(
            Placed(mark, top + (labelled if row is None else row), "" if row is None else side)
            for mark, row, side in zip(marks, rows, sides, strict=True)
        )
        placed.append(Lane(name, top, labelled + (None in rows), of_lane))
    return tuple(placed)


def draw_lanes(chart: Chart, strip: Sequence[Lane], ax: Axes, width: Width) -> None:
    """Draw the lanes; the axes have their limits in time already."""
    style(ax)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    ax.set_yticks([lane.top for lane in strip], labels=[lane.name for lane in strip])
    ax.set_ylim(sum(lane.rows for lane in strip) - 0.4, -0.6)
    for lane in strip:
        if lane.top:
            ax.axhline(lane.top - 0.5, color=placeholder(Tone.GRID), linewidth=0.6)
        if lane.name == "version":
            _draw_eras(chart, lane.top, ax, width)
        for placed in lane.marks:
            _draw_mark(placed, ax)


def _length(mark: Mark) -> float:
    """Inches that the label needs. A version has none: it stands in the version's bar."""
    label = "" if mark.happening.lane == "version" else shortened(mark.text, Width.LAPTOP)
    return len(label) * _LETTER_INCHES


def _span(mark: Mark, side: str, inch: float) -> tuple[float, float]:
    """What a mark and its label cover, in days."""
    at, sign, length = place(mark.at), _SIGN_INCHES * inch, _length(mark) * inch
    return (at - sign - length, at + sign) if side == "left" else (at - sign, at + sign + length)


def _draw_mark(placed: Placed, ax: Axes) -> None:
    mark, look = placed.mark, marking(placed.mark.happening)
    color = placeholder(look.tone)
    ax.plot(
        [place(mark.at)],
        [placed.row],
        linestyle="",
        marker=look.shape,
        markersize=look.size,
        color=color,
        markerfacecolor=color if look.is_filled else placeholder(Tone.PAPER),
        zorder=3,
        clip_on=False,
    )
    if placed.side and _length(mark):
        ax.annotate(
            shortened(mark.text, Width.LAPTOP),
            (place(mark.at), placed.row),
            xytext=(7 if placed.side == "right" else -7, 0),
            textcoords="offset points",
            ha="left" if placed.side == "right" else "right",
            va="center",
            fontsize=SMALL,
            color=placeholder(Tone.INK),
        )


def _draw_eras(chart: Chart, row: int, ax: Axes, width: Width) -> None:
    first, last = ax.get_xlim()
    for number, era in enumerate(chart.eras):
        start, end = max(place(era.start), first), min(place(era.end), last)
        shade = (0.16, 0.32)[number % 2]
        ax.barh(row, end - start, left=start, height=0.7, color=placeholder(Tone.DIM), alpha=shade, zorder=1)
        label = f"v{era.version}"
        if (end - start) / (last - first) * width.value > _LETTER_INCHES * (len(label) + 3):
            middle, ink = (start + end) / 2, placeholder(Tone.INK)
            ax.text(middle, row, label, ha="center", va="center", fontsize=SMALL, color=ink)
