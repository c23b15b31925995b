"""Where and how commands speak: results on stdout, everything else on stderr."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import orjson
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from millrace.core.errors import MillraceError

ACCENT: Final = "cyan"

_PIPE_COLUMNS: Final = 200
"""In a pipe nothing should be shortened that would fit a wide terminal."""


def stdout() -> Console:
    """The console for results. Made anew for each command, because tests and pipes replace the stream."""
    nobody_looks = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=_PIPE_COLUMNS if nobody_looks else None)


def stderr() -> Console:
    """The console for progress, remarks and errors."""
    return Console(stderr=True, highlight=False)


def print_json(document: object) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(orjson.dumps(document, default=str).decode() + "\n")


def print_error(error: MillraceError) -> None:
    """What is wrong in one line, and the remedy in another."""
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    if error.remedy:
        console.print(Text.assemble(("remedy: ", "bold green"), error.remedy), soft_wrap=True)


def say(line: str) -> None:
    """A result of one line, whatever the width."""
    stdout().print(line, soft_wrap=True, markup=False)


def remark(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    stderr().print(Text(text, style="dim"), soft_wrap=True)


def facts(pairs: Mapping[str, str | Text]) -> Table:
    """Names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        grid.add_row(name, value)
    return grid


def listing(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> Table:
    """A plain table, one line a row.

    Args:
        columns: Their names.
        rows: What stands in them.
        numbers: Columns that stand to the right.
        whole: Columns that are never shortened when the terminal is narrow; the others share what is left.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        # rich takes from the columns that may wrap; what stands in them does not, and ends in an ellipsis instead.
        justify: JustifyMethod = "right" if column in numbers else "left"
        table.add_column(_one_line(column), justify=justify, no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(_one_line, row))
    return table


def _one_line(cell: str | Text) -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


@contextmanager
def progress(*columns: str) -> Iterator[Progress]:
    """A progress bar on stderr that leaves no trace when it is done; nothing at all where stderr is no terminal.

    Args:
        *columns: Further columns, as rich's templates: `{task.fields[rate]}`.
    """
    console = stderr()
    with Progress(
        SpinnerColumn(style=ACCENT),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30, complete_style=ACCENT, finished_style=ACCENT),
        *map(TextColumn, columns),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        yield bar


def shortened(digest: str) -> str:
    """The first twelve hexadecimal digits of a digest: enough to tell models apart by eye."""
    return digest.removeprefix("sha256:")[:12]


def human_bytes(count: float) -> str:
    """A size as people say it, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
