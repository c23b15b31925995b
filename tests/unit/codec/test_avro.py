import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pytest

from millrace.codec.avro import AvroDecoder
from millrace.codec.limits import Limits
from millrace.codec.schema_source import GivenSchemas
from millrace.core.columns import Decoded
from millrace.core.errors import Reason, TransientError
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import binary_signature, record_batch

NUMBERS = Signature(
    (Feature("a"), Feature("b")), (ModelInput("x", ("a", "b")),), Task.BINARY, "scores", classes=("no", "yes")
)
DOUBLES = {"a": "double", "b": "double"}


def schema(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - Avro types
    return {"type": "record", "name": "Row", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def encode(row: dict[str, Any], written: dict[str, Any], schema_id: int = 7) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(written), row)
    return b"\x00" + schema_id.to_bytes(4, "big") + stream.getvalue()


def decode(
    *values: bytes | None,
    schemas: dict[int, dict[str, Any]],
    signature: Signature = NUMBERS,
    limits: Limits | None = None,
    id_field: str | None = None,
) -> Decoded:
    given = GivenSchemas({schema_id: json.dumps(text) for schema_id, text in schemas.items()})
    decoder = AvroDecoder(signature, limits=limits or Limits(), schemas=given, id_field=id_field)
    return decoder.decode(record_batch(values))


def reasons(decoded: Decoded) -> dict[int, Reason]:
    return {rejection.row: rejection.error.reason for rejection in decoded.rejections}


def test_fields_are_found_by_name_whatever_their_order() -> None:
    written = schema(z="string", b="long", y=["null", "int"], a="float")
    rows = [{"z": "x" * n, "b": -n, "y": n % 2 or None, "a": n / 2} for n in range(100)]
    decoded = decode(*(encode(row, written) for row in rows), schemas={7: written})
    assert reasons(decoded) == {}
    assert decoded.columns.tensors[0].tolist() == [[n / 2, -n] for n in range(100)]
    assert decoded.columns.tensors[0].dtype == np.float32
    assert decoded.event_ids is None


def test_an_empty_batch() -> None:
    assert len(decode(schemas={}).columns) == 0


def test_several_writers_in_one_batch_keep_the_order_of_the_records() -> None:
    old, new = schema(a="double", b="double"), schema(b="float", c="string", a="int")
    values = [
        encode({"a": 1, "b": 2}, old, 1),
        encode({"a": 3, "b": 4, "c": "x"}, new, 2),
        encode({"a": 5, "b": 6}, old, 1),
        encode({"a": 7, "b": 8}, old, 3),
        encode({"a": 9, "b": 10, "c": ""}, new, 2),
    ]
    decoded = decode(*values, schemas={1: old, 2: new})
    assert decoded.columns.tensors[0].tolist() == [[1, 2], [3, 4], [5, 6], [9, 10]]
    assert decoded.source.tolist() == [0, 1, 2, 4]
    assert reasons(decoded) == {3: Reason.UNKNOWN_SCHEMA}


GOOD = encode({"a": 1.5, "b": 2.5}, schema(**DOUBLES))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b"", Reason.EMPTY),
        (GOOD + bytes(1000), Reason.OVERSIZED),
        (b"\x00\x00", Reason.TRUNCATED),
        (b"\x00\x00\x00\x00\x07", Reason.TRUNCATED),
        (GOOD[:-1], Reason.TRUNCATED),
        (GOOD + b"\x00", Reason.MALFORMED),
        (b'{"a":1,"b":2}', Reason.MALFORMED),
        (b"\x01" + GOOD[1:], Reason.MALFORMED),
        (GOOD[:4] + b"\x08" + GOOD[5:], Reason.UNKNOWN_SCHEMA),
        (GOOD[:5] + np.array([np.nan, 1.0]).tobytes(), Reason.NOT_FINITE),
        (GOOD[:5] + np.array([1.0, -np.inf]).tobytes(), Reason.NOT_FINITE),
        (GOOD[:5] + np.array([1e39, 1.0]).tobytes(), Reason.NOT_FINITE),
    ],
)
def test_every_damage_has_its_own_reason_and_leaves_its_neighbours_alone(value: bytes | None, reason: Reason) -> None:
    decoded = decode(GOOD, value, GOOD, schemas={7: schema(**DOUBLES)}, limits=Limits(record_bytes=500))
    assert reasons(decoded) == {1: reason}
    assert decoded.columns.tensors[0].tolist() == [[1.5, 2.5]] * 2


VARIED = schema(
    s="string", n=["null", "long"], e={"type": "enum", "name": "E", "symbols": ["A", "B"]}, f="boolean", a="double"
)
VARIED_SIGNATURE = binary_signature(
    Feature("s", DType.STRING), Feature("n", DType.INT32), Feature("e", DType.STRING), Feature("f", DType.BOOL)
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x04ab\x02\x06\x02\x01" + bytes(8), None),
        (b"\x04\xff\xfe\x02\x06\x02\x01" + bytes(8), Reason.INVALID_UTF8),
        (b"\x01ab\x02\x06\x02\x01" + bytes(8), Reason.MALFORMED),
        (b"\xff\xff\xff\xff\x0fab", Reason.MALFORMED),
        (b"\xfe\xff\xff\xff\x0fab", Reason.TRUNCATED),
        (b"\xff" * 10 + b"\x01" + bytes(30), Reason.MALFORMED),
        (b"\xff" * 9, Reason.TRUNCATED),
        (b"\x04ab\x00\x02\x01" + bytes(8), Reason.MISSING_FIELD),
        (b"\x04ab\x04\x06\x02\x01" + bytes(8), Reason.MALFORMED),
        (b"\x04ab\x01\x06\x02\x01" + bytes(8), Reason.MALFORMED),
        (b"\x04ab\x02\x80\x80\x80\x80\x10\x02\x01" + bytes(8), Reason.NOT_FINITE),
        (b"\x04ab\x02\x06\x04\x01" + bytes(8), Reason.MALFORMED),
        (b"\x04ab\x02\x06\x02\x02" + bytes(8), Reason.MALFORMED),
    ],
)
def test_damage_inside_a_field(body: bytes, reason: Reason | None) -> None:
    good = encode({"s": "x", "n": 1, "e": "A", "f": False, "a": 0.0}, VARIED)
    decoded = decode(good, good[:5] + body, good, schemas={7: VARIED}, signature=VARIED_SIGNATURE)
    assert reasons(decoded) == ({} if reason is None else {1: reason})
    assert decoded.columns.column("s").tolist() == (["x", "x"] if reason else ["x", "ab", "x"])


def test_texts_that_are_utf8_only_together_are_not() -> None:
    written = schema(s="string")
    head = b"\x00\x00\x00\x00\x07"
    decoded = decode(
        head + b"\x02\xc3",
        head + b"\x02\xa9",
        schemas={7: written},
        signature=binary_signature(Feature("s", DType.STRING)),
    )
    assert reasons(decoded) == {0: Reason.INVALID_UTF8, 1: Reason.INVALID_UTF8}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (schema(a="double"), Reason.SCHEMA_MISMATCH),
        (schema(a="double", b="string"), Reason.SCHEMA_MISMATCH),
        (schema(a="double", b=["null", "boolean"]), Reason.SCHEMA_MISMATCH),
        (schema(a="double", b="null"), Reason.SCHEMA_MISMATCH),
        (schema(a="double", b={"type": "array", "items": "double"}), Reason.SCHEMA_MISMATCH),
        (schema(**DOUBLES, c={"type": "array", "items": "null"}), Reason.SCHEMA_MISMATCH),
        (schema(**DOUBLES, c={"type": "array", "items": schema()}), Reason.SCHEMA_MISMATCH),
        (schema(**DOUBLES, c=["null", "Row"]), Reason.SCHEMA_MISMATCH),
        (schema(**DOUBLES, c="Nothing"), Reason.SCHEMA_MISMATCH),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, Reason.SCHEMA_MISMATCH),
    ],
)
def test_a_schema_that_can_never_be_read(written: dict[str, Any], reason: Reason) -> None:
    assert reasons(decode(b"\x00\x00\x00\x00\x07" + bytes(16), schemas={7: written})) == {0: reason}


def test_named_types_cannot_grow_without_bound() -> None:
    """Each record holds the one before it twice: 2 to the power of 40 fields, in 4 kilobytes of schema."""
    fields: list[Any] = [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]
    left: Any = "int"
    for level in range(40):
        right = f"R{level - 1}" if level else "int"
        halves = [{"name": "l", "type": left}, {"name": "r", "type": right}]
        left = {"type": "record", "name": f"R{level}", "fields": halves}
    written = {"type": "record", "name": "Row", "fields": [*fields, {"name": "c", "type": left}]}
    assert reasons(decode(GOOD, schemas={7: written})) == {0: Reason.SCHEMA_MISMATCH}


def test_extra_fields_are_a_policy() -> None:
    written = schema(**DOUBLES, c="int")
    value = encode({"a": 1, "b": 2, "c": 3}, written)
    strict = replace(NUMBERS, extra_fields=ExtraFields.REJECT)
    assert reasons(decode(value, schemas={7: written})) == {}
    assert reasons(decode(value, schemas={7: written}, signature=strict)) == {0: Reason.EXTRA_FIELD}
    assert reasons(decode(value, schemas={7: written}, signature=strict, id_field="c")) == {}


def test_a_nullable_feature_may_be_null_or_unknown_to_the_writer() -> None:
    signature = binary_signature(Feature("a"), Feature("b", nullable=True), Feature("c", nullable=True))
    written = schema(a="double", b=["null", "double"])
    values = [encode({"a": 1, "b": b}, written) for b in (None, 2.5)]
    decoded = decode(*values, schemas={7: written}, signature=signature)
    np.testing.assert_array_equal(decoded.columns.column("b"), np.array([np.nan, 2.5], np.float32))
    np.testing.assert_array_equal(decoded.columns.column("c"), np.array([np.nan, np.nan], np.float32))


def test_numbers_that_are_not_finite_are_a_policy() -> None:
    allow = replace(NUMBERS, not_finite=NotFinite.ALLOW)
    value = encode({"a": float("nan"), "b": 1e39}, schema(**DOUBLES))
    decoded = decode(value, schemas={7: schema(**DOUBLES)}, signature=allow)
    np.testing.assert_array_equal(decoded.columns.tensors[0], np.array([[np.nan, np.inf]], np.float32))


def test_tensors_flat_and_nested() -> None:
    signature = binary_signature(Feature("t", shape=(2, 3)), Feature("u", DType.INT64, shape=(2,)))
    doubles = {"type": "array", "items": "double"}
    longs = {"type": "array", "items": "long"}
    flat, nested = schema(t=doubles, u=longs), schema(t={"type": "array", "items": doubles}, u=longs)
    values = [
        encode({"t": [1, 2, 3, 4, 5, 6], "u": [1, 2]}, flat, 1),
        encode({"t": [[1, 2, 3], [4, 5, 6]], "u": [1, 2]}, nested, 2),
        encode({"t": [1, 2, 3], "u": [1, 2]}, flat, 1),
        encode({"t": [[1, 2], [3, 4], [5, 6]], "u": [1, 2]}, nested, 2),
        encode({"t": [1, 2, 3, 4, 5, 6], "u": []}, flat, 1),
    ]
    decoded = decode(*values, schemas={1: flat, 2: nested}, signature=signature)
    assert decoded.columns.column("t").tolist() == [[[1, 2, 3], [4, 5, 6]]] * 2
    assert decoded.columns.column("u").tolist() == [[1, 2]] * 2
    assert reasons(decoded) == dict.fromkeys((2, 3, 4), Reason.WRONG_SHAPE)


def test_an_empty_array_of_optional_numbers_has_the_wrong_shape() -> None:
    signature = Signature((Feature("t", shape=(2,)),), (ModelInput("t", ("t",)),), Task.REGRESSION, "y")
    written = schema(t={"type": "array", "items": ["null", "double"]})
    values = [encode({"t": row}, written) for row in ([], [1.0, 2.0])]
    found = decode(*values, schemas={7: written}, signature=signature)
    assert reasons(found) == {0: Reason.WRONG_SHAPE}
    assert found.columns.tensors[0].tolist() == [[1.0, 2.0]]


def test_an_array_in_several_blocks_is_read_by_itself() -> None:
    written = schema(t={"type": "array", "items": "double"})
    one, two = np.array([1.0, 2.0]).tobytes(), np.array([3.0]).tobytes()
    blocks = b"\x00\x00\x00\x00\x07" + b"\x04" + one + b"\x01\x10" + two + b"\x00"
    whole = encode({"t": [4, 5, 6]}, written)
    decoded = decode(whole, blocks, whole, schemas={7: written}, signature=binary_signature(Feature("t", shape=(3,))))
    assert decoded.columns.column("t").tolist() == [[4, 5, 6], [1, 2, 3], [4, 5, 6]]
    assert decoded.source.tolist() == [0, 1, 2]


def test_what_nobody_wants_is_passed() -> None:
    event = {
        "type": "record",
        "name": "Event",
        "fields": [{"name": "p", "type": "long"}, {"name": "q", "type": "string"}],
    }
    written = schema(
        m={"type": "map", "values": "long"},
        a="double",
        r=event,
        e={"type": "array", "items": "Event"},
        h={"type": "fixed", "name": "Hash", "size": 3},
        d={"type": "int", "logicalType": "date"},
        b="double",
    )
    full = {"m": {"k": 1}, "r": {"p": 1, "q": "x"}, "e": [{"p": 2, "q": "y"}], "h": b"abc", "d": 3}
    empty = full | {"m": {}, "e": []}
    values = [encode(row | {"a": 1.5, "b": 2.5}, written) for row in (full, empty, full)]
    decoded = decode(*values, schemas={7: written})
    assert reasons(decoded) == {}
    assert decoded.columns.tensors[0].tolist() == [[1.5, 2.5]] * 3


def test_ids() -> None:
    written = schema(**DOUBLES, id=["null", "string", "long"])
    values = [encode({"a": 1, "b": 2, "id": found}, written) for found in ("x", None, 17, "")]
    assert decode(*values, schemas={7: written}, id_field="id").event_ids == ["x", None, "17", None]
    assert decode(values[1], schemas={7: written}, id_field="id").event_ids is None
    assert decode(GOOD, schemas={7: schema(**DOUBLES)}, id_field="id").event_ids is None
    wrong = schema(**DOUBLES, id="double")
    value = encode({"a": 1, "b": 2, "id": 3}, wrong)
    assert reasons(decode(value, schemas={7: wrong}, id_field="id")) == {0: Reason.SCHEMA_MISMATCH}


class Forgetful:
    """A registry that is away, then does not know the schema, then does."""

    def __init__(self) -> None:
        self.calls = 0

    def schema(self, schema_id: int) -> str | None:
        assert schema_id == 7
        self.calls += 1
        if self.calls == 1:
            raise TransientError("the registry is away")
        return None if self.calls == 2 else json.dumps(schema(**DOUBLES))


def test_a_schema_is_asked_for_until_it_is_known_and_never_again() -> None:
    source = Forgetful()
    decoder = AvroDecoder(NUMBERS, limits=Limits(), schemas=source)
    with pytest.raises(TransientError):
        decoder.decode(record_batch([GOOD]))
    assert reasons(decoder.decode(record_batch([GOOD, GOOD]))) == dict.fromkeys((0, 1), Reason.UNKNOWN_SCHEMA)
    for _ in range(2):
        assert reasons(decoder.decode(record_batch([GOOD]))) == {}
    assert source.calls == 3


def test_a_signalling_nan_is_a_nan() -> None:
    signature = Signature(
        (Feature("a", DType.FLOAT64, shape=(2,)),),
        (ModelInput("x", ("a",)),),
        Task.REGRESSION,
        "y",
        not_finite=NotFinite.ALLOW,
    )
    signalling = b"\x01\x00\x80\x7f"
    value = b"\x00\x00\x00\x00\x07" + b"\x04" + signalling + bytes(4) + b"\x00"
    decoded = decode(value, schemas={7: schema(a={"type": "array", "items": "float"})}, signature=signature)
    assert np.isnan(decoded.columns.tensors[0]).tolist() == [[True, False]]
