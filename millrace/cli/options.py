"""Options that several commands have, and how help shows examples."""

from typing import Annotated, Final, TypeAlias

import typer

_CONNECTION: Final = "Connection"

Bootstrap: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        rich_help_panel=_CONNECTION,
        help="Brokers to ask first, separated by commas. Default: MILLRACE_KAFKA__BOOTSTRAP, else the local broker.",
    ),
]

Launcher: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=_CONNECTION,
        help="REST API of a node. Default: MILLRACE_LAUNCHER__URL, else a node of this machine.",
    ),
]

Api: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--api",
        rich_help_panel=_CONNECTION,
        help="Ask a node's REST API, with your key, instead of Kafka: its address is MILLRACE_LAUNCHER__URL.",
    ),
]

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON, one document a line, for programs.")]


def examples(*lines: tuple[str, str]) -> str:
    """The examples at the end of a command's help: pairs of a command line and what it does."""
    shown = "\n".join(f"  [dim]# {what}[/]\n  [cyan]$ {command}[/]" for command, what in lines)
    return f"[bold]Examples[/]\n{shown}"
