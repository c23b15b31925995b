"""Pages as HTML."""

from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from millrace import __version__
from millrace_launcher.ui import charts, words


class Templates:
    """The templates, read once. What a page is given is escaped in it, always."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("millrace_launcher.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            number=words.number, size=words.size, moment=words.moment, yaml=_yaml, minute=words.day_and_minute
        )
        self._environment.globals.update(version=__version__, width=charts.WIDTH, height=charts.HEIGHT)

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """A page as HTML."""
        return self._environment.get_template(f"{template}.html.j2").render(values)


def _yaml(document: object) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text
