"""The live table as a picture for the README."""

import re
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console

from examples.weather.loop import Loop
from examples.weather.tally import Snapshot
from examples.weather.view import WIDTH, panel

_CELL: Final = 12.2
"""Width of a character in Rich's pictures."""

_INDENTED: Final = re.compile(r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>((?:&#160;)+)')


def write_picture(snapshot: Snapshot, loop: Loop, file: Path) -> None:
    """Write the live table as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(panel(snapshot, loop))
    # Some viewers drop spaces at the beginning of a text: say where it begins instead.
    svg = _INDENTED.sub(_outdent, console.export_svg(title="make demo", unique_id="demo"))
    file.write_text(svg, encoding="utf-8")


def _outdent(match: re.Match[str]) -> str:
    x, y, length, rest, spaces = match.groups()
    shift = _CELL * spaces.count(";")
    return f'x="{float(x) + shift:g}" y="{y}" textLength="{float(length) - shift:g}"{rest}>'
