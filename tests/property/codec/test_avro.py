"""Columns against fastavro: the same bytes, the same rows; damage stays with its record."""

import io
import json
import struct
from typing import Any

import fastavro
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.avro import AvroDecoder
from millrace.codec.limits import Limits
from millrace.codec.schema_source import GivenSchemas
from millrace.core.columns import Decoded
from millrace.core.errors import Reason
from millrace.core.signature import DType, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch

SIGNATURE = Signature(
    (
        Feature("a"),
        Feature("b", nullable=True),
        Feature("d", DType.FLOAT64),
        Feature("i", DType.INT32),
        Feature("l", DType.INT64),
        Feature("f", DType.BOOL),
        Feature("s", DType.STRING),
        Feature("t", shape=(2, 2)),
        Feature("u", DType.INT64, shape=(3,)),
    ),
    (
        ModelInput("x", ("a", "b")),
        *(ModelInput(name, (name,)) for name in "dilfstu"),
    ),
    Task.REGRESSION,
    "y",
    not_finite=NotFinite.ALLOW,
)

# For each feature the types that a writer may choose, with values of them; the last of each may be unreadable.
doubles = st.floats()
singles = st.floats(width=32)
longs = st.integers(-(2**63), 2**63 - 1)
ints = st.integers(-(2**31), 2**31 - 1)
texts = st.text(max_size=8)
NUMERIC = [("double", doubles), ("float", singles), ("int", ints), ("long", longs)]


def optional(kind: str, values: st.SearchStrategy[Any]) -> list[tuple[Any, st.SearchStrategy[Any]]]:
    return [(kind, values), (["null", kind], st.none() | values), ([kind, "null"], values)]


ENUM = {"type": "enum", "name": "Kind", "symbols": ["RAIN", "SNOW"]}
EVENT = {"type": "record", "name": "Event", "fields": [{"name": "p", "type": "long"}, {"name": "q", "type": "string"}]}
WRITERS: dict[str, list[tuple[Any, st.SearchStrategy[Any]]]] = {
    "a": [writer for kind, values in NUMERIC for writer in optional(kind, values)],
    "b": [*optional("double", doubles), (["null", "int", "double", "string"], st.none() | ints | doubles | texts)],
    "d": NUMERIC,
    "i": [("int", ints), ("long", longs), (["int", "double"], ints | doubles)],
    "l": [("long", longs), ("int", ints)],
    "f": optional("boolean", st.booleans()),
    "s": [
        ("string", texts),
        ("bytes", st.binary(max_size=4) | texts.map(str.encode)),
        (ENUM, st.sampled_from(["RAIN", "SNOW"])),
    ],
    "t": [
        (
            {"type": "array", "items": "double"},
            st.lists(doubles, min_size=4, max_size=4) | st.lists(doubles, max_size=5),
        ),
        (
            {"type": "array", "items": {"type": "array", "items": "float"}},
            st.lists(st.lists(singles, min_size=2, max_size=2), min_size=2, max_size=2)
            | st.lists(st.lists(singles, max_size=2), max_size=3),
        ),
        ({"type": "array", "items": ["null", "double"]}, st.lists(st.none() | doubles, min_size=4, max_size=4)),
    ],
    "u": [
        ({"type": "array", "items": "long"}, st.lists(longs, min_size=3, max_size=3)),
        ({"type": "array", "items": "int"}, st.lists(ints, min_size=2, max_size=3)),
    ],
    "z": [
        ("string", texts),
        ({"type": "map", "values": "long"}, st.dictionaries(texts, longs, max_size=2)),
        ({"type": "array", "items": "string"}, st.lists(texts, max_size=2)),
        (EVENT, st.fixed_dictionaries({"p": longs, "q": texts})),
        ({"type": "fixed", "name": "Hash", "size": 3}, st.binary(min_size=3, max_size=3)),
    ],
}


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    names = draw(st.permutations(list(WRITERS)))
    chosen = {name: draw(st.sampled_from(WRITERS[name])) for name in names}
    schema = {"type": "record", "name": "Row", "fields": [{"name": n, "type": kind} for n, (kind, _) in chosen.items()]}
    rows = draw(st.lists(st.fixed_dictionaries({n: values for n, (_, values) in chosen.items()}), max_size=6))
    return schema, rows


def encode(schema: dict[str, Any], row: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), row)
    return b"\x00\x00\x00\x00\x07" + stream.getvalue()


def decoder(schema: dict[str, Any]) -> AvroDecoder:
    return AvroDecoder(SIGNATURE, limits=Limits(), schemas=GivenSchemas({7: json.dumps(schema)}))


def fates(decoded: Decoded, records: int) -> list[Any]:
    found: dict[int, Any] = {rejection.row: rejection.error.reason for rejection in decoded.rejections}
    for place, row in enumerate(decoded.source.tolist()):
        assert row not in found
        found[row] = tuple(
            repr(t[place].tolist()) if t.dtype == object else t[place].tobytes() for t in decoded.columns.tensors
        )
    assert sorted(found) == list(range(records))
    return [found[row] for row in range(records)]


def reference(row: dict[str, Any]) -> Reason | tuple[bytes | str, ...] | None:
    """What the row means, told from the values that were written."""
    try:
        with np.errstate(over="ignore"):
            tensors = [np.array([number(row["a"]), np.nan if row["b"] is None else number(row["b"])], np.float32)]
        tensors.append(np.array([number(row["d"])], np.float64))
        tensors.append(np.array([integer(row["i"], 31)], np.int32))
        tensors.append(np.array([integer(row["l"], 63)], np.int64))
        if row["f"] is None:
            return Reason.MISSING_FIELD
        tensors.append(np.array([row["f"]], np.bool_))
        text = row["s"].decode() if isinstance(row["s"], bytes) else row["s"]
        flat = row["t"]
        if flat and isinstance(flat[0], list):
            if [len(inner) for inner in flat] != [2, 2]:
                return Reason.WRONG_SHAPE
            flat = [*flat[0], *flat[1]]
        if len(flat) != 4 or len(row["u"]) != 3:
            return Reason.WRONG_SHAPE
        with np.errstate(over="ignore"):
            tensors.append(np.array([number(value) for value in flat], np.float32))
        tensors.append(np.array(row["u"], np.int64))
        bits = [tensor.tobytes() for tensor in tensors]
        return (*bits[:5], repr([text]), *bits[5:])
    except (TypeError, KeyError, OverflowError, UnicodeDecodeError):
        return None  # some reason


def number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError


def integer(value: object, bits: int) -> int:
    if isinstance(value, int) and -(2**bits) <= value < 2**bits:
        return value
    raise TypeError


@given(streams())
@settings(max_examples=300, deadline=None)
def test_columns_read_what_was_written(stream: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, rows = stream
    found = fates(decoder(schema).decode(record_batch([encode(schema, row) for row in rows])), len(rows))
    for row, fate in zip(rows, found, strict=True):
        expected = reference(row)
        assert isinstance(fate, Reason) if expected is None or isinstance(expected, Reason) else fate == expected


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    value = bytearray(whole)
    where = draw(st.integers(0, len(value)))
    to = draw(st.integers(where, min(len(value), where + 3)))
    value[where:to] = draw(st.binary(max_size=3) | st.just(b"\xff" * 12))
    return bytes(value)


@given(streams().filter(lambda stream: bool(stream[1])), st.data())
@settings(max_examples=300, deadline=None)
def test_damage_stays_with_its_record(stream: tuple[dict[str, Any], list[dict[str, Any]]], data: st.DataObject) -> None:
    schema, rows = stream
    whole = [encode(schema, row) for row in rows]
    values = [data.draw(damaged(value) | st.just(value) | st.binary(max_size=12)) for value in whole]
    decode = decoder(schema).decode
    together = fates(decode(record_batch(values)), len(values))
    alone = [fates(decode(record_batch([value])), 1)[0] for value in values]
    assert together == alone


FLAT = {
    "type": "record",
    "name": "Row",
    "fields": [
        *({"name": name, "type": "double"} for name in "abd"),
        {"name": "i", "type": "int"},
        {"name": "l", "type": "long"},
        {"name": "f", "type": "boolean"},
        {"name": "s", "type": "string"},
        {"name": "t", "type": {"type": "array", "items": "double"}},
        {"name": "u", "type": {"type": "array", "items": "long"}},
    ],
}
ROW = {
    "a": 1.5,
    "b": 2.5,
    "d": -0.0,
    "i": -7,
    "l": 2**40,
    "f": True,
    "s": "größe",
    "t": [1.0, 2.0, 3.0, 4.0],
    "u": [1, 2, 3],
}


@given(damaged(encode(FLAT, ROW)))
@settings(max_examples=500, deadline=None)
def test_what_is_accepted_is_what_fastavro_reads(value: bytes) -> None:
    (fate,) = fates(decoder(FLAT).decode(record_batch([value])), 1)
    stream = io.BytesIO(value[5:])
    try:
        read = fastavro.schemaless_reader(stream, fastavro.parse_schema(FLAT), None)
    except (EOFError, IndexError, ValueError, OverflowError, struct.error):
        read = None
    if not isinstance(fate, Reason):
        assert isinstance(read, dict)
        assert fate == reference(read)
        assert not stream.read()
