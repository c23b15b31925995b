"""The OpenAPI document as a page to read: plain HTML without scripts, so that it is there without the internet."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from millrace_gateway.logic.roles import role_for

_STYLE: Final = """\
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b2430 }
code { font-family: ui-monospace, monospace } h3 { margin: 1.5rem 0 0 } p { margin: .25rem 0; white-space: pre-line }
dt { font-family: ui-monospace, monospace } dd { margin: 0 0 .25rem 1.5rem } .aside { color: #5a6675 }"""

HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""What the page is sent with: it needs its own style and nothing else."""


def reference_page(document: Mapping[str, Any]) -> str:
    """Every operation with what it takes and answers, grouped as the document has them."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
            f"<h1>{title}</h1><p>{escape(info.get('description', ''))}</p>",
            '<p class="aside">For programs: <a href="/openapi.json">/openapi.json</a></p>',
            *_sections(document),
            "</html>",
        )
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    sections: defaultdict[str, list[str]] = defaultdict(list)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = next(iter(operation.get("tags", ())), "other")
            sections[tag].append(_operation(method.upper(), path, operation))
    for tag, operations in sections.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from operations


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    role = role_for(method, path)
    asks = "asks nobody for a key" if role is None else f"takes the role {role} where keys are required"
    takes = [f"<dt>{escape(each['name'])}</dt><dd>{_parameter(each)}</dd>" for each in operation.get("parameters", ())]
    kinds = operation.get("requestBody", {}).get("content", {})
    answers = ", ".join(operation.get("responses", {}))
    return "".join(
        (
            f"<h3><code>{method} {escape(path)}</code></h3>",
            f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>",
            f"<dl>{''.join(takes)}</dl>" if takes else "",
            f'<p class="aside">Body: {escape(", ".join(kinds))}</p>' if kinds else "",
            f'<p class="aside">Answers {escape(answers)}; {asks}.</p>',
        )
    )


def _parameter(parameter: Mapping[str, Any]) -> str:
    needed = ", required" if parameter.get("required") else ""
    return f'{escape(parameter.get("description", ""))} <span class="aside">({escape(parameter["in"])}{needed})</span>'
