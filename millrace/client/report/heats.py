"""Rows of cells over event time, the stronger, the larger the value."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from millrace.client.report.canvas import SMALL, Width, date_axis, place, shortened, style
from millrace.client.report.model import Heat, Tone
from millrace.client.report.palette import HEAT, placeholder


def draw_heat(heat: Heat, width: Width) -> Figure:
    """The cells as a figure of this width. The cells are an image inside it, as there may be ten thousands of them."""
    figure = Figure(figsize=(width.value, 0.7 + 0.235 * len(heat.rows)), layout="constrained", dpi=110)
    figure.patch.set_alpha(0.0)
    ax = figure.subplots()
    style(ax)
    ax.grid(visible=False)
    edges = [place(heat.columns[0][0]), *(place(end) for _, end in heat.columns)]
    ax.pcolormesh(edges, range(len(heat.rows) + 1), _colors(heat), rasterized=True)
    ax.set_yticks(
        [row + 0.5 for row in range(len(heat.rows))],
        labels=[shortened(row, width) for row in heat.rows],
        fontsize=SMALL,
    )
    ax.set_ylim(len(heat.rows), 0)
    for row in range(1, len(heat.rows)):
        ax.axhline(row, color=placeholder(Tone.GRID), linewidth=0.5)
    ax.tick_params(axis="y", length=0)
    date_axis(ax, width)
    return figure


def _colors(heat: Heat) -> NDArray[np.float64]:
    """One colour, as opaque as the value is large; with a step at the floor, so that what matters stands out."""
    values = np.array([[np.nan if value is None else value for value in row] for row in heat.cells], np.float64)
    known = np.nan_to_num(values, nan=-1.0)
    largest = max(float(known.max()), heat.floor)
    above = ((known - heat.floor) / max(largest - heat.floor, 1e-12)).clip(0.0, 1.0)
    below = (known / heat.floor).clip(0.0, 1.0) if heat.floor else np.zeros_like(known)
    colors = np.empty((*values.shape, 4))
    colors[..., :3] = np.array(HEAT) / 255.0
    colors[..., 3] = np.where(known >= heat.floor, 0.4 + 0.6 * above, 0.2 * below)
    return colors
