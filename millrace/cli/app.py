"""What users type: `millrace`, its commands, and how they end.

Exit codes: 0 done, 1 it could not be done (one line says what, one what to do), 2 the command line is wrong, 130
interrupted.
"""

import os
import sys
from collections.abc import Sequence

import typer

from millrace.cli import (
    acls,
    answers,
    audit,
    batch,
    broker,
    copy,
    dead_letters,
    deploy,
    doctor,
    environments,
    explain,
    fleet,
    history,
    jobs,
    keys,
    lineage,
    models,
    replay,
    retrain,
    send,
    transforms,
    version,
    watch,
)
from millrace.cli.output import print_error
from millrace.core.errors import FatalError, MillraceError

app = typer.Typer(
    name="millrace",
    help="Kafka topics of features become Kafka topics of predictions: exactly once, in micro-batches.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for room in (
    broker,
    fleet,
    jobs,
    environments,
    deploy,
    answers,
    history,
    keys,
    acls,
    send,
    watch,
    explain,
    replay,
    lineage,
    audit,
    dead_letters,
    models,
    transforms,
    batch,
    copy,
    retrain,
    doctor,
    version,
):
    app.add_typer(room.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Raises nothing unless MILLRACE_DEBUG is set: then errors keep their traceback."""
    try:
        app(list(arguments), prog_name="millrace")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except MillraceError as error:
        if os.environ.get("MILLRACE_DEBUG"):
            raise
        print_error(error)
        return 1
    except Exception as error:
        if os.environ.get("MILLRACE_DEBUG"):
            raise
        print_error(
            FatalError(
                f"millrace failed: {type(error).__name__}: {error}",
                remedy="run again with MILLRACE_DEBUG=1 for the traceback, and report it",
            )
        )
        return 1
    return 0
