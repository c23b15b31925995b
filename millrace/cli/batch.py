"""`millrace batch`: hands over to the batch scorer, which is a program of its own."""

import subprocess
from pathlib import Path
from typing import Final

import typer

from millrace.cli.jobs import batch_document, submit_job
from millrace.cli.options import Json, examples
from millrace.client.batch import batch_program

app = typer.Typer()

_ON_NODE: Final = "--on-node"


@app.command(
    rich_help_panel="Data",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=examples(
        ("millrace batch run --model weather --input years/ --output scored/ --keep id", "score files"),
        ("millrace batch status --output scored/", "how far is it, and when will it end?"),
        ("millrace batch run --on-node --model weather --input years/ --output scored/", "on some node; prints a job"),
        ("millrace-batch --help", "all options"),
    ),
)
def batch(context: typer.Context, *, json: Json = False) -> None:
    """Score files with a model: `run`, or tell how far a job is: `status`."""
    if _ON_NODE in context.args:
        rest = [argument for argument in context.args if argument != _ON_NODE]
        submit_job(batch_document(rest, Path.cwd()), launcher=None, json=json)
        return
    done = subprocess.run([batch_program(), *context.args, *(["--json"] if json else [])], check=False)
    raise typer.Exit(done.returncode)
