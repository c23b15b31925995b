"""`millrace copy`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import print_json, progress, say
from millrace.client import Client, Copied, CopyOptions, FileFormat
from millrace.process.credentials import find_credentials

app = typer.Typer()


@app.command(
    rich_help_panel="Data",
    epilog=examples(
        ("millrace copy days.csv kafka:weather.features --key station", "a file into a topic"),
        (
            "millrace copy kafka:rain.predictions s3://lake/rain --as parquet",
            "a topic into files",
        ),
        ("millrace copy sqlite:///days.db#days kafka:weather.features --cursor id", "a table into a topic"),
        ("millrace copy kafka:rain.predictions redis://store:6379/0#rain", "a topic into a Redis stream"),
        (
            "millrace copy kafka:rain.predictions https://desk.example/rain",
            "POSTs of JSON lines, each with an Idempotency-Key",
        ),
    ),
)
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="kafka:TOPIC, files, a table, http(s), a Redis stream.")
    ],
    sink: Annotated[str, typer.Argument(metavar="TO", help="kafka:TOPIC, a folder, a table, http(s), a Redis stream.")],
    *,
    name: Annotated[str, typer.Option(help="Of the copy, under which TO keeps how far it is.")] = "",
    key: Annotated[str | None, typer.Option(metavar="FIELD", help="Field with the key of a topic's records.")] = None,
    cursor: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of a table: unique, growing.")] = None,
    file_format: Annotated[FileFormat | None, typer.Option("--as", help="How files are written.")] = None,
    page_rows: Annotated[int, typer.Option(metavar="ROWS", min=1, help="Most rows of one step.")] = 10_000,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For rows that cannot be read; without it they are an error.")
    ] = None,
    from_credentials: Annotated[str | None, typer.Option(metavar="NAME", help="MILLRACE_CREDENTIALS__NAME.")] = None,
    to_credentials: Annotated[str | None, typer.Option(metavar="NAME", help="MILLRACE_CREDENTIALS__NAME.")] = None,
    allow_private_hosts: Annotated[bool, typer.Option("--allow-private-hosts", help="Reach private networks.")] = False,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Copy what FROM has and TO lacks, without repeats or gaps.

    TO keeps how far FROM was read, in one step with the rows, so a copy
    that died goes on when it is run again, and a finished one brings what is new.
    """
    options = CopyOptions(
        name=name,
        key_field=key,
        cursor=cursor,
        file_format=file_format,
        page_rows=page_rows,
        allow_private=allow_private_hosts,
        source_credentials=find_credentials(from_credentials, os.environ),
        sink_credentials=find_credentials(to_credentials, os.environ),
    )
    with progress("{task.fields[rows]}") as bar:
        task = bar.add_task(source, total=None, rows="")

        def show(copied: Copied) -> None:
            bar.update(task, rows=f"{copied.rows:,} rows")

        copied = Client(bootstrap).copy(source, sink, options, dead_letters=dead_letters, on_copied=show)
    if json:
        print_json({"rows": copied.rows, "refused": copied.refused, "elapsed_secs": round(copied.elapsed_secs, 3)})
        return
    aside = f", {copied.refused:,} put aside" if copied.refused else ""
    say(f"copied {copied.rows:,} rows{aside} in {copied.elapsed_secs:.1f} s")
