"""Pictures for the README: the live table, and both accuracies with what the loop did."""

import re
from io import StringIO
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from examples.weather.loop import Kind, Loop
from examples.weather.tally import YEAR, Snapshot
from examples.weather.view import WIDTH, panel

_CELL: Final = 12.2
"""Width of a character in Rich's pictures."""

_EVERY: Final = 7
"""Days from one point of the chart to the next: more would be a larger file, and no other picture."""

_LOOP, _FROZEN, _QUIET = "#0353c9", "#e06a10", "#5a636e"
_INDENTED: Final = re.compile(r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>((?:&#160;)+)')


def write_picture(snapshot: Snapshot, loop: Loop, file: Path) -> None:
    """Write the live table as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(panel(snapshot, loop))
    # Some viewers drop spaces at the beginning of a text: say where it begins instead.
    svg = _INDENTED.sub(_outdent, console.export_svg(title="make demo", unique_id="demo"))
    file.write_text(svg, encoding="utf-8")


def write_chart(snapshot: Snapshot, loop: Loop, file: Path) -> None:
    """Write the accuracy of a year with the loop and without, the auditor's windows, and what the loop did, as SVG."""
    # It takes a second to import: only where a picture is wanted.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    ax = figure.subplots()
    days = snapshot.first + YEAR - 1
    for rolling, colour, name in (
        (snapshot.frozen, _FROZEN, "version 1 for ever"),
        (snapshot.rolling, _LOOP, "with the loop"),
    ):
        shown = rolling[::_EVERY]
        ax.plot(days + _EVERY * np.arange(len(shown)), shown, color=colour, linewidth=1.4, label=name)
    for version, start in snapshot.versions.items():
        ends = loop.accuracies(version)
        ax.plot(
            list(ends),
            list(ends.values()),
            linestyle="",
            marker="o" if version == 1 else "s",
            markersize=3,
            color=_LOOP,
            label=f"the auditor's windows of version {version}",
        )
        if version > 1:
            ax.axvspan(start, snapshot.end, color=_LOOP, alpha=0.06, linewidth=0)
            ax.text(start + 60, 0.915, f"version {version} answers", color=_LOOP, fontsize=9)
    for kind, marker, colour, height in (
        (Kind.ALERT, "^", "#c2331d", 0.40),
        (Kind.REQUEST, "v", "black", 0.435),
        (Kind.PROMOTION, "*", _LOOP, 0.47),
    ):
        found = [each.day for each in loop.happenings if each.kind is kind]
        ax.plot(found, [height] * len(found), linestyle="", marker=marker, color=colour, markersize=8, label=kind.value)
    ax.set_ylim(0.38, 0.94)
    ax.set_xlabel("day", color=_QUIET)
    ax.set_ylabel("right, in the 365 days before", color=_QUIET)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.grid(visible=True, axis="y", color="#d9dee4", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="lower left", fontsize=8, ncols=2, frameon=False, bbox_to_anchor=(0.0, 0.12))
    with rc_context({"svg.hashsalt": "weather"}):  # the same picture is the same file
        figure.savefig(file, format="svg", metadata={"Date": None})


def _outdent(match: re.Match[str]) -> str:
    x, y, length, rest, spaces = match.groups()
    shift = _CELL * spaces.count(";")
    return f'x="{float(x) + shift:g}" y="{y}" textLength="{float(length) - shift:g}"{rest}>'
