"""Lines over event time, one panel above the other, and what happened in a strip below them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from millrace.client.report.canvas import Width, date_axis, place, style
from millrace.client.report.marking import marking
from millrace.client.report.model import Chart, Line, Look, Panel, Tone, Unit
from millrace.client.report.palette import placeholder
from millrace.client.report.strips import Lane, draw_lanes, place_lanes
from millrace.client.report.words import UNITS

_CROWDED: Final = 90
"""Points from which on only those that are not final keep their marker."""
_MANY_MARKS: Final = 24
_MARKERS: Final = {Look.OPEN: "o", Look.FINAL: "o", Look.AMENDED: "D"}
_ROW_INCHES: Final = 0.24


def draw_chart(chart: Chart, width: Width) -> Figure:
    """The chart as a figure of this width."""
    limits = _limits(chart)
    strip = place_lanes(chart, width, limits)
    heights = [2.6 if len(chart.panels) == 1 else 1.6] * len(chart.panels)
    below = [_ROW_INCHES * sum(lane.rows for lane in strip)] if strip else []
    figure = Figure(figsize=(width.value, sum(heights) + sum(below) + 0.5), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes: NDArray[Any] = figure.subplots(
        len(heights) + len(below), sharex=True, squeeze=False, gridspec_kw={"height_ratios": [*heights, *below]}
    )[:, 0]
    axes[0].set_xlim(limits)
    for panel, ax in zip(chart.panels, axes, strict=False):
        _draw_panel(panel, ax)
        _draw_moments(strip, ax)
    for ax in axes[:-1]:
        ax.tick_params(axis="x", length=0)
    if strip:
        draw_lanes(chart, strip, axes[-1], width)
    date_axis(axes[-1], width)
    return figure


def _limits(chart: Chart) -> tuple[float, float]:
    times = [point.at for panel in chart.panels for line in panel.lines for point in line.points]
    first, last = place(min([*times, *(era.start for era in chart.eras)])), place(max(times))
    margin = max((last - first) * 0.02, 1e-4)
    return first - margin, last + margin


def _draw_panel(panel: Panel, ax: Axes) -> None:
    style(ax)
    ax.set_title(panel.title, loc="left", fontsize=9.5, color=placeholder(Tone.INK))
    for line in panel.lines:
        _draw_line(line, ax)
    for rule in panel.rules:
        ax.axhline(rule.value, color=placeholder(Tone.DIM), linewidth=1.0, linestyle=(0, (4, 3)))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    match panel.unit:
        case Unit.SHARE | Unit.WHOLE:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
            if panel.unit is Unit.WHOLE:
                ax.set_ylim(0.0, 1.05)
        case Unit.DURATION:
            _draw_durations(panel, ax)
        case Unit.NUMBER:
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))


def _draw_durations(panel: Panel, ax: Axes) -> None:
    """From 0, with ticks at round numbers of the unit that suits the longest."""
    known = [point.value for line in panel.lines for point in line.points if point.value is not None]
    largest = max([*known, *(rule.value for rule in panel.rules), 1e-3])
    size, name = next(((size, name) for size, name in UNITS if largest >= 2 * size), UNITS[-1])
    ax.set_ylim(0.0, 1.15 * largest)
    ax.yaxis.set_major_locator(FixedLocator([tick * size for tick in MaxNLocator(4).tick_values(0.0, largest / size)]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size:g} {name}"))


def _draw_line(line: Line, ax: Axes) -> None:
    color = placeholder(line.tone)
    times = [place(point.at) for point in line.points]
    values, low, high = (
        np.array([np.nan if value is None else value for value in column])
        for column in zip(*((point.value, point.lo, point.hi) for point in line.points), strict=True)
    )
    if np.isfinite(low).any():
        ax.fill_between(times, low, high, color=color, alpha=0.16, linewidth=0)
    ax.plot(times, values, "--" if line.dashed else "-", color=color, linewidth=1.5)
    if not line.dashed:
        _draw_points(line, ax, color)


def _draw_points(line: Line, ax: Axes, color: str) -> None:
    """Points by how final they are. In a crowd the final ones are the line itself."""
    for look in Look:
        chosen = [(point.at, point.value) for point in line.points if point.look is look and point.value is not None]
        if not chosen or (look is Look.FINAL and len(line.points) > _CROWDED):
            continue
        ax.plot(
            [place(at) for at, _ in chosen],
            [value for _, value in chosen],
            linestyle="",
            marker=_MARKERS[look],
            markersize=3.5 if look is Look.FINAL else 5.0,
            color=color,
            markerfacecolor=placeholder(Tone.PAPER) if look is Look.OPEN else color,
        )


def _draw_moments(strip: Sequence[Lane], ax: Axes) -> None:
    """A thin line where something happened, so that the eye finds the way from the strip; not for a crowd of alerts."""
    is_crowd = sum(len(lane.marks) for lane in strip) > _MANY_MARKS
    for lane in strip:
        for placed in () if is_crowd and lane.name == "alerts" else lane.marks:
            color = placeholder(marking(placed.mark.happening).tone)
            ax.axvline(place(placed.mark.at), color=color, linewidth=0.7, alpha=0.35)
