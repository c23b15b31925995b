"""`docs/reference/cli.md`: every command's help, as it is printed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer.main
from typer.testing import CliRunner

from docs.pages.markdown import GENERATED
from millrace.cli.app import app

PLAIN: Final[Mapping[str, str]] = {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"}
"""A terminal that is the same everywhere."""

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")  # some environments force it, whatever the terminal


def cli_page() -> str:
    """The page."""
    parts = [
        "# Command line",
        GENERATED,
        "Every command prints this with `--help`. With `--json` it writes for programs. Exit codes: 0 done, 1 it could "
        "not be done, 2 the command line is wrong, 130 interrupted. Services end with 0 stopped as asked, 1 failed, "
        "2 refused, 3 stopped before everything in hand was committed.",
        *map(_section, _commands(typer.main.get_command(app), ())),
    ]
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 -- typer's own click
    """The command itself and all below it, each as the words that call it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, (*path, name))


def _section(path: tuple[str, ...]) -> str:
    printed = CliRunner().invoke(app, [*path, "--help"], env=PLAIN, prog_name="millrace")
    lines = "\n".join(line.rstrip() for line in _COLOUR.sub("", printed.output).splitlines()).strip("\n")
    return f"## `{' '.join(('millrace', *path))}`\n\n```text\n{lines}\n```"
