"""`millrace replay`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import print_json, progress, remark, say
from millrace.client import Client, RangeOptions, RangeReplayed, parse_start

app = typer.Typer()


@app.command(
    epilog=examples(
        ("millrace replay rain --model weather/4", "all that is kept, with version 4"),
        ("millrace replay rain --from 1d --to 1h --model weather/4 --output again.parquet", "row by row, too"),
        ("millrace replay rain --file rain.yaml --model weather@challenger", "by a document that is not deployed"),
        ("millrace replay weather.features --model weather", "any topic of JSON records, compared with nothing"),
    ),
    rich_help_panel="Streams",
)
def replay(
    what: Annotated[str, typer.Argument(metavar="DEPLOYMENT|TOPIC", help="Whose records.")],
    *,
    model: Annotated[str, typer.Option(metavar="REFERENCE", help="NAME, NAME@ALIAS or NAME/VERSION.")],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="The oldest record: 1d, 2h, a time.")
    ] = "earliest",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="All records are older than this.")] = "latest",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A row for each scored row: .parquet, .csv, .arrow, .jsonl.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="The deployment's document, when it is not among millrace.deployments.")
    ] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Score a range of a topic again with any version, and compare with what was predicted then.

    The range is fixed before the first record is read. Nothing is written to
    Kafka, and neither scorers nor gateways take part.
    """
    now = datetime.now(UTC)
    options = RangeOptions(model, parse_start(begin, now), parse_start(end, now), file, output)
    with progress("{task.completed:,.0f} of {task.total:,.0f} records") as bar:
        task = bar.add_task("scoring again", total=0)
        replayed = Client(bootstrap).replay(
            what,
            options,
            on_planned=lambda offsets: bar.update(task, total=offsets),
            on_records=lambda records: bar.update(task, completed=records),
        )
    if json:
        print_json(replayed.document())
        return
    for line in replay_lines(replayed):
        say(line)
    if output is not None:
        remark(f"row by row in {output}")


def replay_lines(replayed: RangeReplayed) -> list[str]:
    """What came of a replay, for a person."""
    lines = [f"{each.topic}-{each.partition}: {each.first_offset} to {each.next_offset}" for each in replayed.ranges]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(replayed.refused.items()))
    left_out = f", {replayed.left_out:,} left out" if replayed.left_out else ""
    lines.append(f"{replayed.records:,} records: {replayed.rows:,} rows scored{left_out}; refused: {refused or 'none'}")
    if not replayed.compared:
        return [*lines, "none of them had a prediction"]
    share = replayed.equal / replayed.compared
    return [
        *lines,
        f"{replayed.equal:,} of {replayed.compared:,} predictions ({share:.2%}) are equal to the last bit",
        f"{replayed.same:,} have the same answer; scores differ by {replayed.largest_difference:.6g} at most",
    ]
