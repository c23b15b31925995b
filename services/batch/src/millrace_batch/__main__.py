"""The batch scorer's command line."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from millrace import __version__
from millrace.codec.file_formats import FileFormat
from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.finding import find_kafka
from millrace.process.credentials import find_credentials
from millrace.process.lifecycle import ExitCode
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.serving.transforms import TransformRegistry
from millrace_batch.adapters.pool import prepare
from millrace_batch.adapters.spark import Cluster
from millrace_batch.app import Resources, read_progress, run_job
from millrace_batch.logic.job import Job
from millrace_batch.logic.progress import Progress as JobProgress

_EPILOG: Final = """\
examples:
  millrace-batch run --model weather --input file:///data/years --output file:///data/scored --keep id
  millrace-batch run --model weather/3 --input days.parquet --output scored --workers 2
  millrace-batch run --model weather --input s3://lake/years --output s3://lake/scored --engine spark
  millrace-batch status --output file:///data/scored

A job that died goes on where it was: run it again. Nothing is published before everything is scored.
Credentials have names: `--credentials lake` takes the driver's options from MILLRACE_CREDENTIALS__LAKE, a JSON
object, or from the file that MILLRACE_CREDENTIALS__LAKE_FILE names.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job or tell how far one is; the exit code says how it ended."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.act(options))
    except MillraceError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"remedy: {error.remedy}\n" if error.remedy else ""))
        return int(ExitCode.REFUSED if isinstance(error, RequestError) else ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; run it again to go on\n")
        return int(ExitCode.ABORTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="millrace-batch",
        description="Scores files with the model and the transform that score the stream.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"millrace-batch {__version__}")
    commands = parser.add_subparsers(required=True, metavar="run|status")
    run = commands.add_parser("run", help="score files into a folder of Parquet files")
    run.set_defaults(act=_run)
    run.add_argument("--model", required=True, metavar="NAME", help="NAME, NAME@ALIAS or NAME/VERSION")
    run.add_argument("--transform", metavar="NAME", help="NAME or NAME/VERSION; makes the model's features")
    run.add_argument("--input", required=True, metavar="URI", help="a file or a folder")
    run.add_argument("--format", choices=list(FileFormat), default="", help="of the files (default: by their endings)")
    run.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="copy this column; may be repeated")
    run.add_argument(
        "--workers", type=_count, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    run.add_argument("--split-rows", type=_count, default=1_000_000, metavar="N", help="rows of a part")
    run.add_argument("--python-functions", action="store_true", help="let a model be a Python function")
    _add_spark(run)
    status = commands.add_parser("status", help="tell how far a job is")
    status.set_defaults(act=_status)
    for command in (run, status):
        command.add_argument("--output", required=True, metavar="URI", help="a folder")
        command.add_argument("--credentials", metavar="NAME", help="named credentials for input and output")
        command.add_argument("--json", action="store_true", help="write JSON")
    return parser


def _add_spark(run: argparse.ArgumentParser) -> None:
    run.add_argument("--engine", choices=["local", "spark"], default="local", help="who works (default: this machine)")
    spark = run.add_argument_group("with --engine spark")
    spark.add_argument(
        "--spark-python",
        metavar="PATH",
        default=os.environ.get("MILLRACE_SPARK_PYTHON", sys.executable),
        help="Python of Spark's environment (default: MILLRACE_SPARK_PYTHON)",
    )
    spark.add_argument("--spark-master", metavar="URI", default="local[*]", help="default: this machine's cores")
    spark.add_argument(
        "--spark-conf", metavar="KEY=VALUE", action="append", default=[], type=_setting, help="may be repeated"
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError
    return name, value


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(options: argparse.Namespace) -> ExitCode:
    cluster = None
    if options.engine == "spark":
        cluster = Cluster(options.spark_python, options.spark_master, dict(options.spark_conf))
    else:
        prepare()
    settings = Settings.load()
    kafka, credentials = find_kafka(settings), find_credentials(options.credentials, os.environ)
    with Registry(kafka, Shelf.of(settings), who="millrace-batch") as registry:
        entry, bundle = registry.open(options.model)
    program, fingerprint = None, ""
    if options.transform:
        with TransformRegistry(kafka, who="millrace-batch") as transforms:
            transform = transforms.resolve(options.transform)
        program = transform.open()
    if (chosen := bundle.program_for(program)) is not None:
        fingerprint = chosen.fingerprint
    job = Job(
        input=options.input,
        output=options.output,
        digest=entry.digest,
        model=entry.key,
        transform=fingerprint,
        format=options.format,
        keep=tuple(options.keep),
        split_rows=options.split_rows,
    )
    resources = Resources(
        bundle.directory,
        program,
        options.workers,
        credentials,
        credentials,
        python_functions=options.python_functions,
        cluster=cluster,
    )
    with _bar() as bar:
        task = bar.add_task(f"{entry.key} on {options.input}", total=None, rate="")

        def show(progress: JobProgress) -> None:
            rate = f"{progress.read:,} rows, {progress.rows_per_sec:,.0f}/s"
            bar.update(task, completed=progress.done_bytes, total=progress.total_bytes, rate=rate)

        ended = run_job(job, resources, on_progress=show)
    _say(ended, as_json=options.json)
    return ExitCode.DONE


def _status(options: argparse.Namespace) -> ExitCode:
    _say(read_progress(options.output, find_credentials(options.credentials, os.environ)), as_json=options.json)
    return ExitCode.DONE


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _say(progress: JobProgress, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(progress.document()) + "\n")
        return
    lines = [
        f"{'complete' if progress.is_complete else 'at work'}: {progress.scored:,} of {progress.read:,} rows scored, "
        f"{progress.refused:,} refused, {progress.filtered:,} left out",
        f"{progress.hours:.4f} hours, {progress.rows_per_sec:,.0f} rows/s",
    ]
    if not progress.is_complete and progress.projected_end is not None:
        end = datetime.fromtimestamp(progress.projected_end, UTC)
        lines.append(f"{progress.share or 0:.0%} done; projected end {end:%Y-%m-%d %H:%M:%S} UTC")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
