"""Bodies of events and labels as records: what a client sent becomes values, keys and partitions, in columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from millrace.codec.arrow_messages import read_claim
from millrace.codec.nesting import deepest
from millrace.codec.reading import read_label
from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.partitioner import partitions_of_keys
from millrace.core.records import Coordinates, OutputBatch
from millrace.kafka.writing import MAX_RECORD_BYTES, at_writing
from millrace_gateway.logic.errors import TooLargeError

JSON: Final = "application/json"
JSON_LINES: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"

_ALIASES: Final = {"": JSON, "application/jsonl": JSON_LINES, "application/json-lines": JSON_LINES}
_KEY: Final = attrgetter("key")


@dataclass(frozen=True, slots=True)
class IncomingLimits:
    """Bounds of one request.

    Attributes:
        records: Most records of JSON.
        rows: Most rows of Arrow.
        depth: Deepest nesting of JSON.
        expanded_bytes: Most bytes of Arrow once unpacked.
    """

    records: int = 20_000
    rows: int = 200_000
    depth: int = 64
    expanded_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """Where records go.

    Attributes:
        topic: The topic.
        partitions: How many partitions it has.
        spread: The partition of records without a key; one for a request, so that it stays in order.
        key_field: The field whose value is the key, so that equal ones lie in one partition; None for no keys.
    """

    topic: str
    partitions: int
    spread: int
    key_field: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is to be written for one request, and where its rows are in that.

    Attributes:
        batch: The records, each with its partition.
        record_of_row: intp: for each row as it was sent, the record that carries it.
        row_in_record: intp: its number there; 0 where a record is one row.
    """

    batch: OutputBatch
    record_of_row: NDArray[np.intp]
    row_in_record: NDArray[np.intp]

    def coordinates(self, partitions: NDArray[np.integer[Any]], offsets: NDArray[np.integer[Any]]) -> list[str]:
        """Coordinates of each row in the order in which they were sent, given where the records came to lie."""
        suffixes = ["", *map(".%d".__mod__, range(1, int(self.row_in_record.max(initial=0)) + 1))]
        places = zip(
            repeat(self.batch.topic),
            partitions[self.record_of_row].tolist(),
            offsets[self.record_of_row].tolist(),
            map(suffixes.__getitem__, self.row_in_record.tolist()),
            strict=False,
        )
        return list(map("%s-%d-%d%s".__mod__, places))


def media_type(content_type: str) -> str:
    """The format that a Content-Type header names, without its parameters.

    Raises:
        RequestError: It is none that is read here.
    """
    named = content_type.partition(";")[0].strip().lower()
    found = _ALIASES.get(named, named)
    if found not in {JSON, JSON_LINES, ARROW}:
        raise RequestError(
            f"bodies of {named[:80]!r} are not read here", remedy=f"send {JSON}, {JSON_LINES} or {ARROW}"
        )
    return found


def read_events(body: bytes, content_type: str, target: Target, limits: IncomingLimits) -> Incoming:
    """The records of a body of events; JSON stays as it was written, byte for byte.

    Arrow becomes records of many rows; with a key field, rows of equal keys go to one partition in their order.

    Raises:
        RequestError: The body is not of its format, has no such field, or holds too much.
    """
    kind = media_type(content_type)
    if kind == ARROW:
        return _arrow(_table(body, limits), target)
    values = _json_values(body, kind, limits)
    return _single(values, _keys(values, target.key_field), target)


def read_labels(body: bytes, content_type: str, target: Target, limits: IncomingLimits) -> Incoming:
    """The records of a body of labels, each of which holds to the contract of labels.

    A label lies in the partition of its event: that of its key, or else the one that the coordinates in its event id
    name.

    Raises:
        RequestError: The body is not of its format, a label is none, or nothing tells its partition.
    """
    kind = media_type(content_type)
    if kind == ARROW:
        rows = _table(body, limits).to_pylist()
        values = [orjson.dumps({name: value for name, value in row.items() if value is not None}) for row in rows]
    else:
        values = _json_values(body, kind, limits)
    keys = _keys(values, target.key_field)
    named = [_event_partition(value, row, target) for row, value in enumerate(values)]
    incoming = _single(values, keys, target)
    if target.key_field is None:
        incoming.batch.partitions[:] = named
    return incoming


def _single(values: Sequence[bytes], keys: Sequence[bytes | None], target: Target) -> Incoming:
    """One record for each row."""
    count = len(values)
    largest = max(map(len, values), default=0)
    if largest > MAX_RECORD_BYTES:
        raise TooLargeError(
            f"a record of {largest} bytes is too large", remedy=f"a record has at most {MAX_RECORD_BYTES} bytes"
        )
    batch = OutputBatch(target.topic, _partitions(keys, target), at_writing(count), keys, values)
    return Incoming(batch, np.arange(count), np.zeros(count, np.intp))


def _partitions(keys: Sequence[bytes | None], target: Target) -> NDArray[np.int32]:
    found = np.full(len(keys), target.spread, np.int32)
    present = [row for row, key in enumerate(keys) if key is not None] if target.key_field is not None else []
    if present:
        found[present] = partitions_of_keys([keys[row] or b"" for row in present], target.partitions)
    return found


def _json_values(body: bytes, kind: str, limits: IncomingLimits) -> list[bytes]:
    values = _split(body, kind)
    if len(values) > limits.records:
        raise TooLargeError(f"{len(values)} records are too many for one request", remedy=f"send {limits.records}")
    if (depth := deepest(body)) > limits.depth:
        raise RequestError(f"the body is nested {depth} levels deep", remedy=f"nest at most {limits.depth} levels")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"byte {error.start} of the body is not UTF-8", remedy="JSON is UTF-8") from None
    return values


def _split(body: bytes, kind: str) -> list[bytes]:
    text = body.strip()
    if kind == JSON_LINES:
        return list(filter(None, map(bytes.strip, text.split(b"\n"))))
    if not text.startswith(b"["):
        return [text]
    return list(map(bytes, _decode(_ELEMENTS.decode, text, "the body")))


def _keys(values: Sequence[bytes], field: str | None) -> list[bytes | None]:
    """The key of each value, every one of which must be a JSON object."""
    parse = _OBJECT.decode if field is None else _keyed(field).decode
    try:
        rows = list(map(parse, values))
    except (msgspec.DecodeError, RecursionError):
        for number, value in enumerate(values):
            _decode(parse, value, f"record {number}")
        raise
    if field is None:
        return [None] * len(values)
    keys = list(map(_KEY, rows))
    return list(map(str.encode, keys)) if set(map(type, keys)) == {str} else list(map(_key_bytes, keys))


def _key_bytes(key: str | float | None) -> bytes | None:
    """Texts as UTF-8, numbers as JSON writes them, null as no key: what `millrace send` does."""
    if key is None:
        return None
    return key.encode() if isinstance(key, str) else orjson.dumps(key)


def _decode(parse: Callable[[bytes], Any], text: bytes, place: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return parse(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"{place}: {error}", remedy="send JSON objects") from None


@lru_cache(maxsize=64)
def _keyed(field: str) -> msgspec.json.Decoder[Any]:
    row = msgspec.defstruct("Row", [("key", str | int | float | None)], rename={"key": field})
    return msgspec.json.Decoder(row)


def _event_partition(value: bytes, row: int, target: Target) -> int:
    try:
        label = read_label(value)
    except InvalidRecordError as error:
        raise RequestError(f"record {row} is no label: {error.detail}", remedy="schemas/labels has examples") from None
    if target.key_field is not None:
        return 0
    try:
        partition = Coordinates.parse(label["event_id"]).partition
    except RequestError:
        raise RequestError(
            f"nothing tells the partition of the label for event {label['event_id'][:80]!r}",
            remedy="name the field that holds the key of the event's record: ?key_field=...",
        ) from None
    if partition >= target.partitions:
        raise RequestError(
            f"the event {label['event_id'][:80]} lies in a partition that {target.topic!r} does not have",
            remedy="give the labels topic as many partitions as the features have",
        )
    return partition


def _table(body: bytes, limits: IncomingLimits) -> pa.Table:
    try:
        claim = read_claim(body, 0)
        if claim.rows > limits.rows or claim.expanded_bytes > limits.expanded_bytes:
            raise TooLargeError(
                f"{claim.rows} rows of {claim.expanded_bytes} bytes are too much for one request",
                remedy=f"send at most {limits.rows} rows and {limits.expanded_bytes} bytes",
            )
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except InvalidRecordError as error:
        raise RequestError(f"the body cannot be read as Arrow: {error.detail}", remedy="send an IPC stream") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        words = str(error).partition("\n")[0][:200]
        raise RequestError(f"the body cannot be read as Arrow: {words}", remedy="send an IPC stream") from None
    return table


def _arrow(table: pa.Table, target: Target) -> Incoming:
    parts = _row_partitions(table, target)
    order = np.argsort(parts, kind="stable")
    grouped = table.take(pa.array(order)) if len(np.unique(parts)) > 1 else table
    record_of_row, row_in_record = np.empty(len(order), np.intp), np.empty(len(order), np.intp)
    values: list[bytes] = []
    places: list[int] = []
    for partition in np.unique(parts).tolist():
        start, stop = np.searchsorted(parts[order], [partition, partition + 1]).tolist()
        for piece in _pieces(grouped.slice(start, stop - start)):
            rows = order[start : start + piece.rows]
            record_of_row[rows], row_in_record[rows] = len(values), np.arange(piece.rows)
            values.append(piece.value)
            places.append(partition)
            start += piece.rows
    count = len(values)
    headers = ([("content-type", ARROW.encode())],) * count
    numbers = np.array(places, np.int32)
    batch = OutputBatch(target.topic, numbers, at_writing(count), [None] * count, values, headers)
    return Incoming(batch, record_of_row, row_in_record)


def _row_partitions(table: pa.Table, target: Target) -> NDArray[np.int32]:
    if target.key_field is None:
        return np.full(len(table), target.spread, np.int32)
    if target.key_field not in table.column_names:
        raise RequestError(
            f"there is no column {target.key_field[:80]!r}", remedy=f"name one of {', '.join(table.column_names)[:300]}"
        )
    try:
        column = table.column(target.key_field).cast(pa.large_string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise RequestError(f"the key column cannot be read as text: {error}", remedy="use texts or integers") from None
    encoded = column.dictionary_encode()  # few keys have many rows
    distinct = encoded.dictionary.cast(pa.large_binary()).to_pylist()
    of_key = np.append(partitions_of_keys(distinct, target.partitions), np.int32(target.spread))
    indices: NDArray[np.int32] = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    found: NDArray[np.int32] = of_key[indices]
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    value: bytes
    rows: int


def _pieces(table: pa.Table) -> list[_Piece]:
    """The rows as records that a broker takes, halved until they are small enough."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    value = sink.getvalue()
    if value.size <= MAX_RECORD_BYTES:
        return [_Piece(value.to_pybytes(), len(table))]
    if len(table) == 1:
        raise TooLargeError(
            f"a row of {value.size} bytes is too large", remedy="send it as a blob, and its digest in the record"
        )
    half = len(table) // 2
    return [*_pieces(table.slice(0, half)), *_pieces(table.slice(half))]


_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
