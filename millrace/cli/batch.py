"""`millrace batch`: hands over to the batch scorer, which is a program of its own."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import typer

from millrace.cli.jobs import batch_document, submit_job
from millrace.cli.options import Json, examples
from millrace.core.errors import RequestError

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
    beside = Path(sys.executable).with_name("millrace-batch")
    program = str(beside) if beside.exists() else shutil.which("millrace-batch")
    if program is None:
        raise RequestError("the batch scorer is not installed", remedy="pip install millrace-batch")
    done = subprocess.run([program, *context.args, *(["--json"] if json else [])], check=False)
    raise typer.Exit(done.returncode)
