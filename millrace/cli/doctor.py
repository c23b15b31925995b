"""`millrace doctor`."""

from typing import Final

import typer
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import print_json, stdout
from millrace.client import Check, State, examine

app = typer.Typer()

_SIGNS: Final = {State.OK: ("✓", "green"), State.WARNING: ("!", "yellow"), State.ERROR: ("✗", "bold red")}


@app.command(
    epilog=examples(
        ("millrace doctor", "before the first run, and when something is odd"),
        ("millrace doctor --json | jq 'select(.state != \"ok\")'", "only what is wrong; exit code 1 with an error"),
    ),
    rich_help_panel="Diagnosis",
)
def doctor(*, bootstrap: Bootstrap = None, json: Json = False) -> None:
    """Look at this machine and the broker, and say what to do about what is wrong.

    Takes a second; up to 12 seconds more when an open transaction holds
    readers back, to see whether it ends.
    """
    console = stdout()
    worst = State.OK
    for check in examine(bootstrap):
        if json:
            print_json(check.document())
        else:
            console.print(check_line(check), soft_wrap=True)
        worst = max(worst, check.state, key=list(State).index)
    if not json:
        console.print(verdict(worst))
    raise typer.Exit(1 if worst is State.ERROR else 0)


def check_line(check: Check) -> Text:
    """A finding, and below it what to do."""
    sign, style = _SIGNS[check.state]
    line = Text.assemble((f"{sign} ", style), (f"{check.name:<16}", "bold"), check.found)
    if check.remedy:
        line.append(f"\n{'':18}remedy: {check.remedy}", style="green")
    return line


def verdict(worst: State) -> Text:
    """The end of it all."""
    match worst:
        case State.OK:
            return Text("\nall is well", style="bold green")
        case State.WARNING:
            return Text("\nit works; see the warnings", style="bold yellow")
        case State.ERROR:
            return Text("\nsomething does not work; see the errors", style="bold red")
