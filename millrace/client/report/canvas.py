"""What all drawings share: widths, the look of axes, the axis of time, and where a time lies on it."""

from datetime import datetime
from enum import Enum
from typing import Final

from matplotlib.axes import Axes
from matplotlib.dates import HOURLY, MINUTELY, MONTHLY, SECONDLY, AutoDateLocator, ConciseDateFormatter, date2num

from millrace.client.report.model import Tone
from millrace.client.report.palette import placeholder


class Width(Enum):
    """For which screen a picture is drawn; the value is its width in inches, which the page stretches to its own."""

    LAPTOP = 9.0
    PHONE = 4.4


SMALL: Final = 8.0
"""Size of labels in points."""

_MOST_TICKS: Final = {Width.LAPTOP: 9, Width.PHONE: 6}
_LARGEST_STEPS: Final = {MONTHLY: 12, HOURLY: 24, MINUTELY: 60, SECONDLY: 60}
"""Steps of the axis of time that a narrow picture needs beside the library's own."""
_LONGEST: Final = {Width.LAPTOP: 24, Width.PHONE: 15}
"""Letters of a name that are shown."""


def style(ax: Axes) -> None:
    """Let axes recede behind what they show."""
    ax.patch.set_alpha(0.0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(placeholder(Tone.GRID))
    ax.tick_params(colors=placeholder(Tone.DIM), labelsize=SMALL)
    ax.grid(visible=True, axis="y", color=placeholder(Tone.GRID), linewidth=0.6)
    ax.set_axisbelow(True)


def date_axis(ax: Axes, width: Width) -> None:
    """Name as many times as there is room for."""
    locator = AutoDateLocator(minticks=3, maxticks=_MOST_TICKS[width])  # type: ignore[no-untyped-call]
    for frequency, largest in _LARGEST_STEPS.items():
        locator.intervald[frequency] = [*locator.intervald[frequency], largest]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_color(placeholder(Tone.DIM))


def shortened(text: str, width: Width) -> str:
    """A name that fits, with an ellipsis where something is left out."""
    most = _LONGEST[width]
    return text if len(text) <= most else f"{text[: most - 1]}…"


def place(at: datetime) -> float:
    """Where a time lies on the axis, in days."""
    return float(date2num(at))  # type: ignore[no-untyped-call]
