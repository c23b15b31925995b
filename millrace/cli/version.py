"""`millrace version`."""

from importlib.metadata import version as installed

import typer

from millrace.cli.options import Json, examples
from millrace.cli.output import print_json, say

app = typer.Typer()


@app.command(epilog=examples(("millrace version --json", "for a bug report")), rich_help_panel="Diagnosis")
def version(*, json: Json = False) -> None:
    """Say which millrace this is."""
    if json:
        print_json({"millrace": installed("millrace")})
    else:
        say(f"millrace {installed('millrace')}")
