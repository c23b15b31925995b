"""The colours, in the light and in the dark; chosen so that people who see fewer colours tell them apart, too.

The series are after Okabe and Ito (2008, Color Universal Design), darkened or lightened until each stands out from its
paper. `tests/unit/client/report/test_palette.py` measures both.
"""

from collections.abc import Mapping
from typing import Final

from millrace.client.report.model import Tone

LIGHT: Final[Mapping[Tone, str]] = {
    Tone.INK: "#1b1f24",
    Tone.DIM: "#5a636e",
    Tone.GRID: "#d9dee4",
    Tone.PAPER: "#ffffff",
    Tone.BLUE: "#0353c9",
    Tone.ORANGE: "#e06a10",
    Tone.GREEN: "#04402b",
    Tone.PURPLE: "#b05e7f",
    Tone.BAD: "#c2331d",
}

DARK: Final[Mapping[Tone, str]] = {
    Tone.INK: "#e8ebef",
    Tone.DIM: "#9da7b3",
    Tone.GRID: "#333b45",
    Tone.PAPER: "#14181d",
    Tone.BLUE: "#5089f0",
    Tone.ORANGE: "#e9ad53",
    Tone.GREEN: "#afe8c9",
    Tone.PURPLE: "#b8489f",
    Tone.BAD: "#ff7a5c",
}

HEAT: Final = (209, 73, 35)
"""Red, green and blue of a cell; how strong it is, is how opaque. It stands out from both papers."""

_PLACEHOLDERS: Final = {tone: f"#0a0b{index:02x}" for index, tone in enumerate(Tone, 16)}


def placeholder(tone: Tone) -> str:
    """The colour to draw with, for which `to_variables` puts the page's."""
    return _PLACEHOLDERS[tone]


def to_variables(svg: str) -> str:
    """The drawing with the page's colours, which follow the reader's choice of light or dark."""
    for tone, drawn in _PLACEHOLDERS.items():
        svg = svg.replace(drawn, f"var(--{tone.value})")
    return svg
