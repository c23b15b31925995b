"""Every colour stands out from its paper, and from the others for people who see fewer colours."""

from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from millrace.client.report.model import SERIES, Tone
from millrace.client.report.palette import DARK, HEAT, LIGHT, placeholder, to_variables

Color = NDArray[np.float64]

DEFICIENCIES: Final = {
    # Machado, Oliveira and Fernandes (2009, IEEE TVCG 15:1291), severity 1, on linear RGB.
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}
TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
THEMES: Final = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])


def linear(color: str) -> Color:
    parts = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As the Web Content Accessibility Guidelines 2.2 define it."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(color)) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(color: str, deficiency: str) -> Color:
    seen = (np.array(DEFICIENCIES[deficiency]) @ linear(color)).clip(0, 1)
    ratios = (TO_XYZ @ seen) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, deficiency: str) -> float:
    return float(np.linalg.norm(lab(one, deficiency) - lab(other, deficiency)))


@THEMES
@pytest.mark.parametrize("tone", [*SERIES, Tone.BAD])
def test_what_is_drawn_stands_out_from_its_paper(theme: Mapping[Tone, str], tone: Tone) -> None:
    assert contrast(theme[tone], theme[Tone.PAPER]) >= 3


@THEMES
@pytest.mark.parametrize("tone", [Tone.INK, Tone.DIM, Tone.BLUE])
def test_what_is_written_can_be_read(theme: Mapping[Tone, str], tone: Tone) -> None:
    assert contrast(theme[tone], theme[Tone.PAPER]) >= 4.5


@THEMES
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_lines_beside_each_other_differ_for_everybody(theme: Mapping[Tone, str], deficiency: str) -> None:
    apart = {pair: distance(theme[pair[0]], theme[pair[1]], deficiency) for pair in combinations(SERIES, 2)}
    assert min(apart.values()) >= 20, min(apart, key=lambda pair: apart[pair])


@THEMES
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_bad_news_differ_from_good_news_for_everybody(theme: Mapping[Tone, str], deficiency: str) -> None:
    assert distance(theme[Tone.BAD], theme[Tone.BLUE], deficiency) >= 20


@THEMES
def test_the_strongest_cell_stands_out_from_both_papers(theme: Mapping[Tone, str]) -> None:
    assert contrast("#{:02x}{:02x}{:02x}".format(*HEAT), theme[Tone.PAPER]) >= 3


def test_the_measure_tells_colours_that_are_alike_to_some() -> None:
    assert distance("#d00000", "#5c7a00", "none") > 60
    assert distance("#c05000", "#7a7a00", "deuteranopia") < 20


def test_a_drawing_takes_the_colours_of_the_page() -> None:
    drawn = " ".join(placeholder(tone) for tone in Tone)
    assert to_variables(drawn) == " ".join(f"var(--{tone.value})" for tone in Tone)
