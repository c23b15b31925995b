"""`millrace send`."""

import json as stdlib_json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import human_bytes, print_json, progress, say
from millrace.client import ArrowEncoder, AvroEncoder, Client, Encoder, FileFormat, JsonEncoder, SendOptions, Sent
from millrace.core.errors import RequestError

app = typer.Typer()


class ValueFormat(StrEnum):
    """How the values of records are written."""

    JSON = "json"
    AVRO = "avro"
    ARROW = "arrow"


@app.command(
    epilog=examples(
        ("millrace send weather weather.csv --key station", "to the topic weather.features, one record a row"),
        ("millrace send weather new.csv --create 8", "make the topic with 8 partitions if there is none"),
        ("tail -f app.log | millrace send clicks", "JSON lines from another program, as they come"),
        ("millrace send weather history.parquet --rate 500", "500 rows a second, to watch what happens"),
    ),
    rich_help_panel="Streams",
)
def send(
    topic: Annotated[str, typer.Argument(help="Topic, or stream: STREAM means the topic STREAM.features.")],
    file: Annotated[
        Path, typer.Argument(help="JSON lines, JSON, CSV, Parquet, Arrow or Avro by its ending; - for standard input.")
    ] = Path("-"),
    *,
    key: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field with the record's key: equal keys stay in order.")
    ] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Field with the record's time, in milliseconds since 1970 or ISO 8601. Kafka deletes by it.",
        ),
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Write everything to this partition.")] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--from", help="How the file is written, if its ending does not say.")
    ] = None,
    value_format: Annotated[ValueFormat, typer.Option("--as", help="How values are written.")] = ValueFormat.JSON,
    schema: Annotated[Path | None, typer.Option(help="Avro schema of the values, with --as avro.")] = None,
    schema_id: Annotated[int | None, typer.Option(min=0, help="Id of that schema where it is registered.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="ROWS", help="Rows a second, at most.")] = None,
    create: Annotated[
        int | None, typer.Option(metavar="PARTITIONS", min=1, help="Make the topic if it does not exist.")
    ] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Write the rows of a file, or of standard input, to a topic.

    Returns when the broker has acknowledged every record. JSON lines travel
    as they are, damaged ones too; other formats become one JSON object per row.
    Keys decide the partition as the Java clients do.
    """
    options = SendOptions(
        key_field=key,
        timestamp_field=timestamp,
        partition=partition,
        encoder=_encoder(value_format, schema, schema_id),
        file_format=file_format,
        rate=rate,
        create_partitions=create,
    )
    client = Client(bootstrap)
    with _input(file) as source, _bar(str(file)) as told:
        sent = client.send(topic, source, options, on_sent=told)
    if json:
        print_json(sent_document(sent))
    else:
        say(sent_line(sent))


def sent_line(sent: Sent) -> str:
    """How sending ended, in one line."""
    records = f"{sent.records:,} record{'' if sent.records == 1 else 's'}"
    rows = records if sent.rows == sent.records else f"{sent.rows:,} rows in {records}"
    size = human_bytes(sent.value_bytes)
    return f"sent {rows} ({size}) to {sent.topic} in {sent.elapsed_secs:.1f} s, {sent.rows_per_sec:,.0f} rows/s"


def sent_document(sent: Sent) -> dict[str, object]:
    """How sending ended, as JSON values."""
    return {
        "topic": sent.topic,
        "rows": sent.rows,
        "records": sent.records,
        "value_bytes": sent.value_bytes,
        "elapsed_secs": round(sent.elapsed_secs, 3),
    }


def _encoder(value_format: ValueFormat, schema: Path | None, schema_id: int | None) -> Encoder:
    if value_format is not ValueFormat.AVRO and (schema is not None or schema_id is not None):
        raise RequestError("--schema and --schema-id are for Avro", remedy="add --as avro")
    match value_format:
        case ValueFormat.JSON:
            return JsonEncoder()
        case ValueFormat.ARROW:
            return ArrowEncoder()
        case ValueFormat.AVRO:
            if schema is None or schema_id is None:
                raise RequestError("Avro values need a schema and its id", remedy="add --schema FILE --schema-id N")
            return AvroEncoder(_read_schema(schema), schema_id)


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = stdlib_json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}", remedy="check the path") from error
    except ValueError as error:
        raise RequestError(f"{path} is not JSON: {error}", remedy="give an Avro schema (.avsc)") from error
    return schema


@contextmanager
def _input(file: Path) -> Iterator[Path | IO[bytes]]:
    yield sys.stdin.buffer if str(file) == "-" else file


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Sent], None]]:
    with progress("{task.percentage:>3.0f}%", "{task.fields[rows]}") as bar:
        task = bar.add_task(f"sending {'standard input' if name == '-' else name}", total=None, rows="")

        def told(sent: Sent) -> None:
            rows = f"{sent.rows:,} rows, {sent.rows_per_sec:,.0f}/s"
            bar.update(task, completed=sent.done, total=sent.total, rows=rows)

        yield told
