"""Any bytes in: the native decoder makes the same columns, the same ids and the same reasons as the Python one."""

import io
import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.avro import AvroDecoder
from millrace.codec.limits import Limits
from millrace.codec.native_avro import NativeAvroDecoder, native_avro_decoder
from millrace.codec.schema_source import GivenSchemas
from millrace.core.columns import Decoded
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch

EXAMPLES: Final = int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "100"))
LIMITS: Final = Limits(record_bytes=400)
FEATURES: Final = (
    Feature("a"),
    Feature("b", nullable=True),
    Feature("w", DType.FLOAT64, nullable=True),
    Feature("n", DType.INT32),
    Feature("l", DType.INT64),
    Feature("f", DType.BOOL),
    Feature("t", shape=(2, 2)),
    Feature("g", DType.INT64, shape=(3,)),
    Feature("o", DType.FLOAT64, shape=(2,), nullable=True),
)
INPUTS: Final = (ModelInput("x", ("b", "a")), *(ModelInput(name, (name,)) for name in "wnlftgo"))

doubles = st.floats() | st.sampled_from([1e39, 3.4028235677973366e38, 16777217.0, 5e-324])
singles = st.floats(width=32)
longs = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**31, -(2**31) - 1, 2**53 + 1, 7])
ints = st.integers(-(2**31), 2**31 - 1)
texts = st.text(max_size=6)
NUMERIC: Final = [("double", doubles), ("float", singles), ("int", ints), ("long", longs)]

Writers = Sequence[tuple[Any, st.SearchStrategy[Any]]]


def optional(writers: Writers) -> list[tuple[Any, st.SearchStrategy[Any]]]:
    """The writers, and those who may write null before or after."""
    return [
        writer
        for kind, values in writers
        for writer in [(kind, values), (["null", kind], st.none() | values), ([kind, "null"], st.none() | values)]
    ]


def lists(kind: Any, values: st.SearchStrategy[Any], size: int) -> tuple[Any, st.SearchStrategy[Any]]:  # noqa: ANN401
    exact = st.lists(values, min_size=size, max_size=size)
    return {"type": "array", "items": kind}, exact | exact | st.lists(values, max_size=size + 1)


MAYBE: Final = ["null", "double"]
PAIRS_OF: Final = lists({"type": "array", "items": "float"}, st.lists(singles, min_size=2, max_size=2), 2)
POINT: Final = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": n, "type": k} for n, k in (("p", "long"), ("q", "bytes"))],
}
WRITERS: Final[Mapping[str, Writers]] = {
    "a": optional(NUMERIC),
    "b": [*optional(NUMERIC), (["null", "double", "string"], st.none() | doubles | texts)],
    "w": optional(NUMERIC),
    "n": [("int", ints), ("long", longs | ints), (["int", "double"], ints | doubles)],
    "l": optional([("long", longs)]),
    "f": optional([("boolean", st.booleans())]),
    "t": [lists("double", doubles, 4), PAIRS_OF, lists(MAYBE, st.none() | doubles, 4), lists("int", ints, 4)],
    "g": [lists("long", longs, 3), lists("int", ints, 3)],
    "o": optional([lists("double", doubles, 2)]),
    "id": [*optional([("string", texts), ("long", longs)]), (["int", "string"], ints | texts)],
    "z": [
        ("string", texts),
        ("float", singles),
        ("boolean", st.booleans()),
        ({"type": "map", "values": "long"}, st.dictionaries(texts, longs, max_size=1)),
        (POINT, st.fixed_dictionaries({"p": longs, "q": st.binary(max_size=3)})),
        ({"type": "fixed", "name": "Hash", "size": 3}, st.binary(min_size=3, max_size=3)),
        ({"type": "enum", "name": "Kind", "symbols": ["RAIN", "SNOW"]}, st.sampled_from(["RAIN", "SNOW"])),
    ],
}
POLICIES: Final = [(extra, not_finite) for extra in ExtraFields for not_finite in NotFinite]


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A writer's schema, and what it writes; nullable features may be absent, and so may the id."""
    absent = draw(st.sets(st.sampled_from(["b", "w", "o", "id", "z"])))
    chosen = {
        name: draw(st.sampled_from(WRITERS[name]))
        for name in draw(st.permutations(list(WRITERS)))
        if name not in absent
    }
    schema = {"type": "record", "name": "Row", "fields": [{"name": n, "type": kind} for n, (kind, _) in chosen.items()]}
    rows = st.fixed_dictionaries({name: values for name, (_, values) in chosen.items()})
    return schema, draw(st.lists(rows, min_size=1, max_size=6))


def encode(schema: dict[str, Any], row: dict[str, Any], schema_id: int = 7) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), row)
    return b"\x00" + struct.pack(">I", schema_id) + stream.getvalue()


def pairs(schemas: Mapping[int, dict[str, Any]]) -> list[tuple[AvroDecoder, NativeAvroDecoder]]:
    """Both decoders, for each policy."""
    known = GivenSchemas({number: json.dumps(schema) for number, schema in schemas.items()})
    made = []
    for extra, not_finite in POLICIES:
        signature = Signature(FEATURES, INPUTS, Task.REGRESSION, "y", extra_fields=extra, not_finite=not_finite)
        python = AvroDecoder(signature, limits=LIMITS, schemas=known, id_field="id")
        made.append((python, NativeAvroDecoder(signature, python, limits=LIMITS)))
    return made


def told(decoded: Decoded) -> tuple[object, ...]:
    """Everything that a decoder says, to the bit."""
    return (
        [(tensor.dtype, tensor.shape, tensor.tobytes()) for tensor in decoded.columns.tensors],
        (decoded.source.dtype, decoded.source.tolist(), decoded.rows.dtype, decoded.rows.tolist()),
        list(decoded.event_ids or [None] * len(decoded.source)),
        [(rejection.row, rejection.error.reason, rejection.error.detail) for rejection in decoded.rejections],
    )


def check(schemas: Mapping[int, dict[str, Any]], values: Sequence[bytes | None]) -> None:
    batch = record_batch(values)
    for python, native in pairs(schemas):
        expected = told(python.decode(batch))
        assert told(native.decode(batch)) == expected  # nothing is known of the schema by then
        assert told(native.decode(batch)) == expected


@given(streams())
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_was_written_is_read_alike(stream: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, rows = stream
    check({7: schema}, [encode(schema, row) for row in rows])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The record with a piece replaced."""
    where = draw(st.integers(0, len(whole)))
    to = draw(st.integers(where, min(len(whole), where + 3)))
    return (
        whole[:where]
        + draw(st.binary(max_size=3) | st.sampled_from([b"\xff" * 12, b"\xff" * 9 + b"\x01"]))
        + whole[to:]
    )


@given(streams(), streams(), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_damage_and_strange_schemas_fare_alike(
    one: tuple[dict[str, Any], list[dict[str, Any]]],
    other: tuple[dict[str, Any], list[dict[str, Any]]],
    data: st.DataObject,
) -> None:
    values = [encode(schema, row, number) for number, (schema, rows) in ((7, one), (8, other)) for row in rows]
    strange = (
        st.none() | st.binary(max_size=12) | st.just(values[0] + bytes(500)) | st.just(b"\x00\x00\x00\x00\x09\x02")
    )
    check({7: one[0], 8: other[0]}, [data.draw(st.just(value) | damaged(value) | strange) for value in values])


FLAT: Final = {"type": "record", "name": "Row", "fields": [{"name": name, "type": "double"} for name in "ab"]}


def test_a_schema_is_read_natively_once_its_plan_is_known() -> None:
    signature = Signature((Feature("a"),), (ModelInput("a", ("a",)),), Task.REGRESSION, "y")
    decoder: Any = native_avro_decoder(signature, limits=LIMITS, schemas=GivenSchemas({7: json.dumps(FLAT)}))
    batch = record_batch([encode(FLAT, {"a": 1.5, "b": 2.0})])
    room = [np.empty(4, np.uint8)]
    assert decoder._reader.read(batch.values, room)[0] == b""
    decoder.decode(batch)
    assert decoder._reader.read(batch.values, room)[0] == bytes(4)
    assert room[0].view(np.float32).tolist() == [1.5]


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0xFFC00000, 0x7FC00001, 0xFF800000])
def test_every_kind_of_nan_is_read_alike(bits: int) -> None:
    schema = {"type": "record", "name": "Row", "fields": [{"name": name, "type": "float"} for name in ("a", "w")]}
    signature = Signature(
        (Feature("a"), Feature("w", DType.FLOAT64)),
        (ModelInput("a", ("a",)), ModelInput("w", ("w",))),
        Task.REGRESSION,
        "y",
        not_finite=NotFinite.ALLOW,
    )
    python = AvroDecoder(signature, limits=LIMITS, schemas=GivenSchemas({7: json.dumps(schema)}))
    native = NativeAvroDecoder(signature, python, limits=LIMITS)
    batch = record_batch([b"\x00\x00\x00\x00\x07" + struct.pack("<II", bits, bits)] * 3)
    expected = told(python.decode(batch))
    assert [told(native.decode(batch)) for _ in range(2)] == [expected] * 2


def test_two_fields_of_one_name_fare_alike() -> None:
    kind: Any = ["null", "double"]
    schema = {"type": "record", "name": "Row", "fields": [{"name": "b", "type": "double"}, {"name": "b", "type": kind}]}
    signature = Signature((Feature("b", nullable=True),), (ModelInput("b", ("b",)),), Task.REGRESSION, "y")
    python = AvroDecoder(signature, limits=LIMITS, schemas=GivenSchemas({7: json.dumps(schema)}))
    native = NativeAvroDecoder(signature, python, limits=LIMITS)
    written = [struct.pack("<d", 1.5) + end for end in (b"\x00", b"\x02" + struct.pack("<d", 2.5))]
    batch = record_batch([b"\x00\x00\x00\x00\x07" + value for value in written])
    expected = told(python.decode(batch))
    assert [told(native.decode(batch)) for _ in range(2)] == [expected] * 2


def test_texts_as_features_are_read_in_python() -> None:
    made = Signature((Feature("s", DType.STRING),), (ModelInput("s", ("s",)),), Task.REGRESSION, "y")
    assert isinstance(native_avro_decoder(made, limits=LIMITS, schemas=GivenSchemas({})), AvroDecoder)
