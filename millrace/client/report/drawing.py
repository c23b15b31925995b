"""Pictures as SVG, by matplotlib: text stays text, and colours are the page's own."""

import re
import warnings
from collections.abc import Mapping
from html import escape
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG

from millrace.client.report.canvas import Width
from millrace.client.report.charts import draw_chart
from millrace.client.report.heats import draw_heat
from millrace.client.report.model import Chart, Picture
from millrace.client.report.palette import to_variables

_SETTINGS: Final[Mapping[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.parse_math": False,  # a feature may be called `$x$`
    "font.size": 9.0,
    "axes.unicode_minus": False,
}
_NO_METADATA: Final = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def draw(picture: Picture, width: Width, *, name: str) -> str:
    """The picture as an `svg` element for a page; equal pictures give equal text.

    Args:
        picture: What to draw.
        width: For which screen.
        name: Distinguishes the picture's parts from those of other pictures of the page.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's fonts have the letters that the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure = draw_chart(picture, width) if isinstance(picture, Chart) else draw_heat(picture, width)
        written = StringIO()
        FigureCanvasSVG(figure).print_svg(written, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
    return _for_a_page(written.getvalue(), alt=picture.alt, name=name)


def _for_a_page(svg: str, *, alt: str, name: str) -> str:
    """Only the element, with the page's colours, a text for those who do not see it, and ids of its own."""
    head, body = re.split(r"(?<=>)", svg[svg.index("<svg") :], maxsplit=1)
    box = re.search(r'viewBox="[^"]*"', head)
    opening = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}">'
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    return opening + to_variables(re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", body))
