import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from millrace.codec.arrow import ArrowDecoder
from millrace.codec.limits import Limits
from millrace.core.columns import Decoded
from millrace.core.errors import Reason
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import binary_signature, record_batch

LIMITS = Limits(record_bytes=1_000_000, rows=1000, expanded_bytes=1_000_000)
NUMBERS = Signature(
    (Feature("a"), Feature("b")), (ModelInput("x", ("a", "b")),), Task.BINARY, "scores", classes=("no", "yes")
)
TABLE = pa.table({"b": [2.0, 4.0, 6.0], "a": [1.0, 3.0, 5.0]})


def stream(table: pa.Table, *, batch_rows: int | None = None, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression=compression)
    with ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def decode(
    *values: bytes | None, signature: Signature = NUMBERS, limits: Limits = LIMITS, id_field: str | None = None
) -> Decoded:
    return ArrowDecoder(signature, limits=limits, id_field=id_field).decode(record_batch(values))


def reasons(decoded: Decoded) -> dict[int, Reason]:
    return {rejection.row: rejection.error.reason for rejection in decoded.rejections}


@pytest.mark.parametrize(
    "value", [stream(TABLE), stream(TABLE, batch_rows=1), stream(TABLE, compression="zstd"), file(TABLE)]
)
def test_a_record_of_many_rows(value: bytes) -> None:
    decoded = decode(value, None, value)
    assert reasons(decoded) == {1: Reason.TOMBSTONE}
    assert decoded.columns.tensors[0].tolist() == [[1, 2], [3, 4], [5, 6]] * 2
    assert decoded.columns.tensors[0].dtype == np.float32
    assert decoded.source.tolist() == [0, 0, 0, 2, 2, 2]
    assert decoded.rows.tolist() == [0, 1, 2] * 2
    assert decoded.event_ids is None


def test_nothing_at_all() -> None:
    assert len(decode().columns) == 0


def test_every_kind_of_column() -> None:
    signature = binary_signature(
        Feature("wide", DType.FLOAT64),
        Feature("small", DType.INT32),
        Feature("big", DType.INT64),
        Feature("flag", DType.BOOL),
        Feature("town", DType.STRING),
        Feature("code", DType.STRING),
        Feature("maybe", nullable=True),
        Feature("gone", nullable=True),
        Feature("row", shape=(2,)),
        Feature("grid", DType.INT32, shape=(2, 2)),
        Feature("flat", DType.FLOAT64, shape=(2, 2), nullable=True),
    )
    table = pa.table(
        {
            "wide": pa.array([0.1, -0.0]),
            "small": pa.array([-5, 6], pa.int8()),
            "big": pa.array([2**62, 1], pa.uint64()),
            "flag": pa.array([True, False]),
            "town": pa.array(["größe", ""]),
            "code": pa.array(["x", "x"]).dictionary_encode(),
            "maybe": pa.array([None, 1.5], pa.float32()),
            "row": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64())),
            "grid": pa.array([[[1, 2], [3, 4]]] * 2, pa.list_(pa.list_(pa.int32(), 2), 2)),
            "flat": pa.array([None, [1, 2, 3, 4]], pa.large_list(pa.float64())),
        }
    )
    decoded = decode(stream(table, batch_rows=1), signature=signature)
    assert reasons(decoded) == {}
    columns = decoded.columns
    assert columns.column("wide").tobytes() == np.array([0.1, -0.0]).tobytes()
    assert columns.column("small").tolist() == [-5, 6]
    assert columns.column("big").tolist() == [2**62, 1]
    assert columns.column("flag").tolist() == [True, False]
    assert columns.column("town").tolist() == ["größe", ""]
    assert columns.column("code").tolist() == ["x", "x"]
    np.testing.assert_array_equal(columns.column("maybe"), np.array([np.nan, 1.5], np.float32))
    np.testing.assert_array_equal(columns.column("gone"), np.array([np.nan, np.nan], np.float32))
    assert columns.column("row").tolist() == [[1, 2], [3, 4]]
    assert columns.column("grid").tolist() == [[[1, 2], [3, 4]]] * 2
    np.testing.assert_array_equal(columns.column("flat"), [[[np.nan] * 2] * 2, [[1, 2], [3, 4]]])
    for tensor, feature in zip(columns.tensors, signature.features, strict=True):
        assert tensor.dtype == feature.dtype.numpy
        assert tensor.flags.c_contiguous


def one(feature: Feature, column: pa.Array, **changes: Any) -> dict[int, Reason]:  # noqa: ANN401 - a signature's fields
    signature = replace(binary_signature(feature), **changes)
    return reasons(decode(stream(pa.table({feature.name: column})), signature=signature))


@pytest.mark.parametrize(
    ("feature", "column", "reason"),
    [
        (Feature("a"), pa.array(["1"]), Reason.WRONG_TYPE),
        (Feature("a"), pa.array([True]), Reason.WRONG_TYPE),
        (Feature("a"), pa.array([[1.0]]), Reason.WRONG_TYPE),
        (Feature("a"), pa.array([None], pa.null()), Reason.WRONG_TYPE),
        (Feature("a"), pa.array([1.0, None]), Reason.MISSING_FIELD),
        (Feature("a"), pa.array([1.0, float("nan")]), Reason.NOT_FINITE),
        (Feature("a"), pa.array([1e39]), Reason.NOT_FINITE),
        (Feature("a", DType.INT32), pa.array([1.0]), Reason.WRONG_TYPE),
        (Feature("a", DType.INT32), pa.array([2**31]), Reason.NOT_FINITE),
        (Feature("a", DType.INT64), pa.array([2**63], pa.uint64()), Reason.NOT_FINITE),
        (Feature("a", DType.BOOL), pa.array([1]), Reason.WRONG_TYPE),
        (Feature("a", DType.STRING), pa.array([b"x"]), Reason.WRONG_TYPE),
        (Feature("a", DType.STRING), pa.array(["x"], pa.string_view()), Reason.WRONG_TYPE),
        (Feature("a", DType.STRING), pa.array(["x", None]), Reason.MISSING_FIELD),
        (
            Feature("a", DType.STRING),
            pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["x", None])),
            Reason.MISSING_FIELD,
        ),
        (Feature("a"), pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([None, 1.0])), Reason.MISSING_FIELD),
        (Feature("a", shape=(2,)), pa.array([1.0]), Reason.WRONG_TYPE),
        (Feature("a", shape=(2,)), pa.array([[1.0, 2.0], [1.0]]), Reason.WRONG_SHAPE),
        (Feature("a", shape=(2,)), pa.array([[1.0]], pa.list_(pa.float64(), 1)), Reason.WRONG_SHAPE),
        (Feature("a", shape=(2,)), pa.array([[1.0, None]]), Reason.WRONG_TYPE),
        (Feature("a", shape=(2,)), pa.array([[[1.0], [2.0]]]), Reason.WRONG_TYPE),
        (Feature("a", shape=(2, 1)), pa.array([[[1.0]]]), Reason.WRONG_SHAPE),
        (Feature("a", shape=(2, 2)), pa.array([[[1.0, 2.0], None]]), Reason.WRONG_TYPE),
    ],
)
def test_columns_refuse_what_they_are_not(feature: Feature, column: pa.Array, reason: Reason) -> None:
    assert one(feature, column) == {0: reason}


def test_numbers_that_are_not_finite_are_a_policy() -> None:
    assert one(Feature("a"), pa.array([float("nan"), 1e39]), not_finite=NotFinite.ALLOW) == {}


def test_a_missing_and_an_extra_column() -> None:
    value = stream(TABLE.append_column("c", pa.array(["x"] * 3)))
    strict = replace(NUMBERS, extra_fields=ExtraFields.REJECT)
    assert reasons(decode(value)) == {}
    assert reasons(decode(value, signature=strict)) == {0: Reason.EXTRA_FIELD}
    assert reasons(decode(value, signature=strict, id_field="c")) == {}
    assert reasons(decode(stream(TABLE.drop_columns(["a"])))) == {0: Reason.MISSING_FIELD}
    twice = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["a", "b", "b"])
    assert reasons(decode(stream(twice))) == {0: Reason.SCHEMA_MISMATCH}


def test_ids_of_rows() -> None:
    texts = stream(TABLE.append_column("id", pa.array(["x", "", None])))
    numbers = stream(TABLE.append_column("id", pa.array([7, 8, 9])))
    assert decode(texts, numbers, stream(TABLE), id_field="id").event_ids == [
        *("x", None, None, "7", "8", "9"),
        *(None, None, None),
    ]
    assert reasons(decode(stream(TABLE.append_column("id", pa.array([1.5] * 3))), id_field="id")) == {
        0: Reason.WRONG_TYPE
    }


def test_too_many_rows() -> None:
    table = pa.table({"a": np.zeros(1001), "b": np.zeros(1001)})
    assert reasons(decode(stream(table, batch_rows=10))) == {0: Reason.OVERSIZED}
    assert reasons(decode(stream(table), limits=replace(LIMITS, rows=1001))) == {}


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_bomb_is_not_unpacked(compression: str) -> None:
    bomb = pa.table({"a": [1.0], "b": [1.0], "padding": ["x" * 50_000_000]})
    value = stream(bomb, compression=compression)
    assert len(value) < LIMITS.record_bytes
    before = pa.default_memory_pool().max_memory()
    assert reasons(decode(value)) == {0: Reason.OVERSIZED}
    assert pa.default_memory_pool().max_memory() == before


def test_a_dictionary_is_shared_not_written_out() -> None:
    long_text = "x" * 100_000
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), pa.array([long_text]))
    value = stream(pa.table({"a": codes}))
    decoded = decode(value, signature=binary_signature(Feature("a", DType.STRING)))
    column = decoded.columns.column("a")
    assert len(column) == 1000
    assert all(text is column[0] for text in column)


def test_no_rows_are_no_record() -> None:
    assert reasons(decode(stream(TABLE.slice(0, 0)))) == {0: Reason.EMPTY}


def test_every_cut_is_truncated() -> None:
    value = stream(TABLE, batch_rows=2)
    decoded = decode(*(value[:end] for end in range(1, len(value))))
    assert len(decoded.columns) == 0
    assert set(reasons(decoded).values()) == {Reason.TRUNCATED}


def test_what_is_no_stream_is_malformed() -> None:
    value = stream(TABLE)
    assert reasons(decode(b"hello, world", value + b"\x00", b"\x00" * 100, value, b"ARROW1\x00\x00" + b"x" * 50)) == {
        0: Reason.MALFORMED,
        1: Reason.MALFORMED,
        2: Reason.MALFORMED,
        4: Reason.MALFORMED,
    }


def test_text_that_is_not_utf8() -> None:
    value = stream(pa.table({"a": ["Bellevue"]})).replace(b"Bellevue", b"Bell\xffvue")
    decoded = decode(value, signature=binary_signature(Feature("a", DType.STRING)))
    assert reasons(decoded) == {0: Reason.INVALID_UTF8}


def test_a_claim_of_negative_size() -> None:
    value = bytearray(stream(TABLE, compression="lz4"))
    claimed = struct.pack("<q", TABLE.column("a").nbytes)
    place = value.rindex(claimed)
    value[place : place + 8] = struct.pack("<q", -7)
    assert reasons(decode(bytes(value))) == {0: Reason.MALFORMED}
