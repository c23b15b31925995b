"""`millrace answers`: four questions about a deployment, and where the evidence lies."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from millrace.cli.options import Json, Launcher, examples
from millrace.cli.output import facts, print_json, stdout
from millrace.client.control import ControlClient

app = typer.Typer()

_STYLES: Final = {"green": "bold green", "yellow": "bold yellow", "red": "bold red"}
_INDENT: Final = (0, 0, 1, 2)


@app.command(
    epilog=examples(
        ("millrace answers rain", "is it observed, does it fail, does it learn, is it balanced?"),
        ("millrace answers rain --json", "a line each, for programs"),
    ),
    rich_help_panel="Deployments",
)
def answers(
    name: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Name of the deployment.")],
    *,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Answer four questions about a deployment, with its numbers and where they come from.

    How do you observe it? How do you know if it fails? Do you have a
    feedback loop? Is the load balanced? Exit code 1 when an answer is red.
    """
    with ControlClient(launcher) as control:
        found = control.answers(name)
    if json:
        for each in found:
            print_json(each)
    else:
        stdout().print(Group(*map(_view, found)))
    raise typer.Exit(1 if any(each["light"] == "red" for each in found) else 0)


def _view(answer: Mapping[str, Any]) -> RenderableType:
    light = str(answer["light"])
    # The light is a word as well: a pipe has no colours, and some eyes have not either.
    head = Text.assemble((f"{light:<6} ", _STYLES[light]), (str(answer["question"]), "bold"))
    numbers = "  ".join(f"{name}={_number(value)}" for name, value in answer["numbers"].items())
    pairs = {"numbers": numbers, "evidence": "\n".join(answer["evidence"])}
    return Group(head, Padding(Group(Text(str(answer["says"])), facts(pairs)), _INDENT))


def _number(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case dict():
            return ",".join(f"{name}:{inner:g}" for name, inner in value.items()) or "none"
        case float():
            return f"{value:.10g}"
        case _:
            return str(value)
