"""The page as one file of HTML: no network, no scripts, readable on a laptop and a phone, by day and by night."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from millrace.client.report.marking import marking
from millrace.client.report.model import Chart, Happening, Heat, Page, Picture, Tone
from millrace.client.report.palette import DARK, HEAT, LIGHT
from millrace.client.report.words import number
from millrace.core.errors import RequestError

_REMEDY: Final = "pip install 'millrace[report]'"


def render(page: Page) -> str:
    """The page as HTML. Takes seconds, most of them for drawing.

    Raises:
        RequestError: The packages that draw and write the page are not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 -- wanted by few; the client is for all
        from markupsafe import Markup  # noqa: PLC0415

        from millrace.client.report.canvas import Width  # noqa: PLC0415
        from millrace.client.report.drawing import draw  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RequestError(f"the report page needs the package {error.name}", remedy=_REMEDY) from error

    def drawn(picture: Picture, width: str, name: str) -> str:
        return Markup(draw(picture, Width[width], name=f"{name}-{width.lower()}"))  # noqa: S704 -- the drawing escapes

    folder = files("millrace.client.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text("utf-8"))
    return template.render(
        page=page,
        style=Markup((folder / "page.css").read_text("utf-8")),  # noqa: S704 -- our own file
        light=_variables(LIGHT),
        dark=_variables(DARK),
        heat=f"rgb{HEAT}",
        draw=drawn,
        legend=_legend,
        scale=_scale,
    )


def _variables(colors: Mapping[Tone, str]) -> str:
    return " ".join(f"--{tone.value}: {color};" for tone, color in colors.items())


def _legend(picture: Picture) -> list[tuple[str, str, str]]:
    """Sign, colour and meaning of each line of a chart, where there are several, of each level and kind of mark."""
    if not isinstance(picture, Chart):
        return []
    lines = [line for panel in picture.panels for line in panel.lines if len(panel.lines) > 1]
    named = [("╍╍" if line.dashed else "━━", line.tone.value, line.name) for line in lines]
    named += [("╌╌", Tone.DIM.value, rule.name) for panel in picture.panels for rule in panel.rules]
    used = {mark.happening for mark in picture.marks}
    kinds = [(happening, marking(happening)) for happening in Happening if happening in used]
    return [*named, *((look.sign, look.tone.value, happening.value) for happening, look in kinds)]


def _scale(picture: Picture) -> tuple[str, str] | None:
    """The ends of a heat map's scale: where it begins to matter, and the largest value; None where it has none."""
    if not isinstance(picture, Heat) or not picture.floor:
        return None
    largest = max((value for row in picture.cells for value in row if value is not None), default=0.0)
    return number(picture.floor), number(max(largest, picture.floor))
