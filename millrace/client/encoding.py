"""Rows to records: the value's format, the key, the timestamp."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

import fastavro
import orjson
import pyarrow as pa

from millrace.client.sources import Chunk, Row
from millrace.core.errors import RequestError
from millrace.core.records import Headers

CONTENT_TYPE: Final = "content-type"
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"


class Encoder(Protocol):
    """Makes values of rows."""

    @property
    def headers(self) -> Headers | None:
        """Headers of every record; None for none."""
        ...

    @property
    def rows_per_record(self) -> int:
        """How many rows a record carries, at most."""
        ...

    def encode(self, chunk: Chunk, place: str) -> Sequence[bytes]:
        """One value per record, in order.

        Raises:
            RequestError: A row cannot be written in the format.
        """
        ...


@dataclass(frozen=True, slots=True)
class JsonEncoder:
    """One JSON object per record. Texts of JSON stay as they are."""

    headers: Headers | None = None
    rows_per_record: int = 1

    def encode(self, chunk: Chunk, place: str) -> Sequence[bytes]:
        """See `Encoder`."""
        try:
            return chunk.texts or list(map(_json, chunk.rows))
        except TypeError as error:
            raise RequestError(
                f"{place}: a value has no JSON form: {error}", remedy="convert the column, or send Arrow or Avro"
            ) from error


@dataclass(frozen=True, slots=True)
class ArrowEncoder:
    """Many rows in one record, as an Arrow IPC stream."""

    rows_per_record: int = 1_000
    headers: Headers | None = ((CONTENT_TYPE, ARROW_STREAM.encode()),)

    def encode(self, chunk: Chunk, place: str) -> Sequence[bytes]:
        """See `Encoder`."""
        try:
            table = pa.Table.from_pylist(list(chunk.mappings(place)))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RequestError(f"{place}: rows do not fit into columns: {error}", remedy="send JSON") from error
        size = self.rows_per_record
        return [_ipc(table.slice(start, size)) for start in range(0, table.num_rows, size)]


class AvroEncoder:
    """One Avro record per record, in Confluent framing.

    Args:
        schema: The writer's schema.
        schema_id: Its id, in the registry or among the deployment's `source.schemas`.
    """

    headers: Headers | None = None
    rows_per_record: int = 1

    def __init__(self, schema: Mapping[str, Any], schema_id: int) -> None:
        self._schema = fastavro.parse_schema(dict(schema))
        self._frame = b"\0" + schema_id.to_bytes(4, "big")

    def encode(self, chunk: Chunk, place: str) -> Sequence[bytes]:
        """See `Encoder`."""
        return [self._one(row, number, place) for number, row in enumerate(chunk.mappings(place), chunk.first)]

    def _one(self, row: Row, number: int, place: str) -> bytes:
        buffer = io.BytesIO()
        buffer.write(self._frame)
        try:
            fastavro.schemaless_writer(buffer, self._schema, dict(row))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(
                f"{place}: row {number} does not fit the Avro schema: {error}", remedy="correct the row or the schema"
            ) from error
        return buffer.getvalue()


def keys_of(rows: Sequence[Row], field: str, place: str, first: int) -> list[bytes | None]:
    """Record keys from a field: texts as UTF-8, numbers as JSON writes them, null as no key.

    Raises:
        RequestError: A row has no such field, or it holds an object.
    """
    return [_key(_field(row, field, place, number), field, place) for number, row in enumerate(rows, first)]


def timestamps_of(rows: Sequence[Row], field: str, place: str, first: int) -> list[int]:
    """Record timestamps, milliseconds since 1970, from a field: such a number, a time, or an ISO 8601 text.

    A time without a zone is UTC.

    Raises:
        RequestError: A row has no such field, or it holds no time.
    """
    return [_timestamp(_field(row, field, place, number), field, place) for number, row in enumerate(rows, first)]


def _field(row: Row, field: str, place: str, number: int) -> object:
    try:
        return row[field]
    except KeyError:
        raise RequestError(
            f"{place}: row {number} has no field {field!r}", remedy=f"its fields are {', '.join(map(str, row))}"
        ) from None


def _key(value: object, field: str, place: str) -> bytes | None:
    match value:
        case None:
            return None
        case bytes():
            return value
        case str():
            return value.encode()
        case int() | float():
            return orjson.dumps(value)
        case _:
            raise RequestError(
                f"{place}: the key field {field!r} holds a {type(value).__name__}", remedy="use a text or a number"
            )


def _timestamp(value: object, field: str, place: str) -> int:
    match value:
        case int() | float() if not isinstance(value, bool) and value > 0:
            return int(value)
        case datetime():
            return _milliseconds(value)
        case str():
            try:
                return _milliseconds(datetime.fromisoformat(value))
            except ValueError:
                pass
    raise RequestError(
        f"{place}: the timestamp field {field!r} holds no time: {str(value)[:40]!r}",
        remedy="write milliseconds since 1970 or ISO 8601, for example 2026-11-23T12:00:00Z",
    )


def _milliseconds(time: datetime) -> int:
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value


_json: Final[Callable[[object], bytes]] = partial(orjson.dumps, option=orjson.OPT_SERIALIZE_NUMPY)
