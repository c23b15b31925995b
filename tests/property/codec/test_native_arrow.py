"""Any bytes in: the native decoder makes the same columns, the same ids and the same reasons as the Python one."""

import os
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from millrace.codec.arrow import ArrowDecoder
from millrace.codec.arrow_layout import read_layout
from millrace.codec.limits import Limits
from millrace.codec.native_arrow import NativeArrowDecoder, native_arrow_decoder
from millrace.core.columns import Decoded
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.testing.records import record_batch
from tests.property.codec.every_kind import FEATURES, INPUTS

EXAMPLES: Final = int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "100"))
LIMITS: Final = Limits(record_bytes=12_000, rows=40, expanded_bytes=4_000)
COLUMNS: Final[dict[str, pa.Array]] = {
    "a": pa.array([1.5, -0.0, 3e38], pa.float32()),
    "b": pa.array([None, 2.5, None]),
    "w": pa.array([0.1, 5e-324, 1.0]),
    "n": pa.array([-7, 0, 2**31 - 1], pa.int32()),
    "l": pa.array([2**53 + 1, -(2**63), 0]),
    "f": pa.array([True, False, True]),
    "t": pa.array([[[1.0, 2], [3, 4]]] * 3, pa.list_(pa.list_(pa.float64(), 2), 2)),
    "g": pa.array([[1.0, 2.0]] * 3),
    "id": pa.array(["x", "", "é"]),
    "z": pa.array([{"y": [None]}, None, {"y": ["text", ""]}]),
}
OTHERS: Final[Sequence[tuple[str, pa.Array]]] = [
    ("a", pa.array([1, 2, 2**24 + 1], pa.int64())),
    ("a", pa.array([1, 2, 2**64 - 1], pa.uint64())),
    ("a", pa.array([1, 2, 255], pa.uint8())),
    ("a", pa.array([1, 2, -3], pa.int8())),
    ("a", pa.array([1, 2, -3], pa.int16())),
    ("a", pa.array([1, 2, 65535], pa.uint16())),
    ("a", pa.array([1, 2, 2**32 - 1], pa.uint32())),
    ("a", pa.array([1, 2, 3], pa.float16())),
    ("a", pa.array([1.0, 2.0, 1e39])),
    ("a", pa.array([1.0, 2.0, float("nan")], pa.float32())),
    ("a", pa.array([1.0, 2.0, struct.unpack("<f", b"\x01\0\x80\xff")[0]], pa.float32())),
    ("a", pa.array([1.0, None, 2.0])),
    ("a", pa.array([1, 2, 3]).cast(pa.timestamp("s"))),
    ("b", pa.array([1.0, 2.0, 3.0])),
    ("b", pa.array([None, 3, None], pa.int16())),
    ("b", pa.array([None] * 3, pa.float32())),
    ("b", pa.array([None] * 3)),
    ("b", pa.array([1.0, 2.0, 2.0]).dictionary_encode()),
    ("w", pa.array([1, 2**63 - 1, 3])),
    ("w", pa.array([1.0, float("inf"), float("nan")], pa.float32())),
    ("n", pa.array([1, 2, 2**31])),
    ("l", pa.array([1, 2, 2**63], pa.uint64())),
    ("f", pa.array([1, 0, 1])),
    ("t", pa.array([[1.0, 2, 3, 4]] * 3)),
    ("t", pa.array([[1.0, 2, 3, 4]] * 3, pa.large_list(pa.float32()))),
    ("t", pa.array([[1.0, 2, 3, 4], [1.0, 2, 3], [1.0]])),
    ("t", pa.array([[[1.0, 2], [3, 4]]] * 3, pa.list_(pa.large_list(pa.int8()), 2))),
    ("t", pa.array([[[1.0, 2], [3, None]]] * 3)),
    ("g", pa.array([[1.0, 2.0], None, [3.0, 4.0]])),
    ("g", pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64(), 2))),
    ("g", pa.array([[9.0, 9], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[1:]),
    ("id", pa.array([1, -2, 3])),
    ("id", pa.array([1, None, 3], pa.int32())),
    ("id", pa.array([1, 2, 3], pa.int32())),
    ("id", pa.array([1, 2, 3], pa.uint8())),
    ("id", pa.array(["", "", ""], pa.large_string())),
    ("id", pa.array(["x", None, "y"])),
    ("id", pa.array(["w", "x", "é", "yy"])[1:]),
    ("z", pa.array(["x", "x", "y"]).dictionary_encode()),
    ("z", pa.array([b"\xff", b"", None])),
    ("z", pa.array(["a", "b", "c"], pa.string_view())),
    ("z", pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8()))),
    ("z", pa.array([b"ab", b"cd", None], pa.binary(2))),
]
"""Another column in the place of one: what is read natively, what is left, and what is refused."""


def written(columns: dict[str, pa.Array], *, batches: int = 1, compression: str | None = None) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def as_file(columns: dict[str, pa.Array]) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


GOOD: Final = written(COLUMNS)


def signature(extra: ExtraFields, not_finite: NotFinite) -> Signature:
    return Signature(FEATURES, INPUTS, Task.REGRESSION, "y", extra_fields=extra, not_finite=not_finite)


def pair(extra: ExtraFields, not_finite: NotFinite) -> tuple[ArrowDecoder, NativeArrowDecoder]:
    made = signature(extra, not_finite)
    python = ArrowDecoder(made, limits=LIMITS, id_field="id")
    return python, NativeArrowDecoder(made, python, limits=LIMITS, id_field="id")


POLICIES: Final = [(extra, not_finite) for extra in ExtraFields for not_finite in NotFinite]


def told(decoded: Decoded) -> tuple[object, ...]:
    """Everything that a decoder says, to the bit."""
    return (
        [(tensor.dtype, tensor.shape, tensor.tobytes()) for tensor in decoded.columns.tensors],
        [tensor.flags.c_contiguous for tensor in decoded.columns.tensors],
        (decoded.source.dtype, decoded.source.tolist(), decoded.rows.dtype, decoded.rows.tolist()),
        list(decoded.event_ids or [None] * len(decoded.source)),
        [(rejection.row, rejection.error.reason, rejection.error.detail) for rejection in decoded.rejections],
    )


def check(values: Iterable[bytes | None], learnt: Sequence[bytes] = ()) -> None:
    """The two agree, before the native one has seen the like of the records, and after."""
    batch = record_batch(list(values))
    for policy in POLICIES:
        python, native = pair(*policy)
        if learnt:
            native.decode(record_batch(learnt))
        expected = told(python.decode(batch))
        assert told(native.decode(batch)) == expected
        assert told(native.decode(batch)) == expected


class Refusing:
    """A decoder that nothing is left to."""

    def decode(self, records: object) -> Decoded:
        raise AssertionError(f"{records} were left")


def is_native(value: bytes) -> bool:
    """Whether the like of a record is read natively once it was seen."""
    made = signature(ExtraFields.IGNORE, NotFinite.ALLOW)
    python = ArrowDecoder(made, limits=LIMITS, id_field="id")
    native: Any = NativeArrowDecoder(made, python, limits=LIMITS, id_field="id")
    native.decode(record_batch([value]))
    native._careful = Refusing()
    try:
        native.decode(record_batch([value, value]))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        {name: column[:2] for name, column in reversed(COLUMNS.items())},
        {name: column for name, column in COLUMNS.items() if name not in {"b", "g", "id", "z"}},
        {**COLUMNS, "b": pa.array([1, None, 3], pa.int8()), "id": pa.array([1, 2, 3])},
        {**COLUMNS, "t": pa.array([[1.0, 2, 3, 4]] * 3), "z": pa.array([None] * 3)},
    ],
)
def test_the_plain_kinds_of_records_are_read_natively(columns: dict[str, pa.Array]) -> None:
    shorter = {name: column[:1] for name, column in columns.items()}
    assert is_native(written(columns))
    check([written(columns), None, as_file(columns), written(shorter), b""], [written(columns)])


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_another_column_in_the_place_of_one(number: int) -> None:
    name, column = OTHERS[number]
    check([GOOD, written({**COLUMNS, name: column}), GOOD])


def test_what_is_out_of_the_ordinary_stays_with_python() -> None:
    odd = [
        written(COLUMNS, batches=2),
        written(COLUMNS, batches=0),
        written(COLUMNS, compression="zstd"),
        written({**COLUMNS, "z": pa.array(["x"] * 3).dictionary_encode()}),
        written({name: pa.concat_arrays([column] * 20) for name, column in COLUMNS.items()}),
        written({**COLUMNS, "z": pa.array(["x" * 2_000] * 3)}),
    ]
    assert not any(map(is_native, odd))
    check([*odd, GOOD, GOOD + b"\0", GOOD[8:], as_file(COLUMNS)[:-100]], [GOOD])


def test_a_record_cut_anywhere() -> None:
    batch = record_batch([GOOD[:end] for end in range(0, len(GOOD), 7)])
    python, native = pair(*POLICIES[0])
    native.decode(record_batch([GOOD]))
    assert told(native.decode(batch)) == told(python.decode(batch))


def test_layouts_that_come_later_take_the_place_of_the_oldest() -> None:
    python, native = pair(ExtraFields.IGNORE, NotFinite.ALLOW)
    schemas = [written({**COLUMNS, f"z{number}": COLUMNS["w"]}) for number in range(20)]
    batches = [record_batch(schemas[start : start + 4]) for start in range(0, 20, 4)]
    for batch in [*batches, *batches]:
        assert told(native.decode(batch)) == told(python.decode(batch))


INSIDE: Final = len(read_layout(GOOD, signature(*POLICIES[0]), "id").head)  # type: ignore[union-attr]
NUMBERS: Final = [0, 1, 2, 3, 4, 8, 64, 2**31, 2**62, -1, -8, -(2**63)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The good record with some bytes replaced, mostly where its numbers stand."""
    value = bytearray(draw(st.sampled_from([GOOD, as_file(COLUMNS)])))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            where = draw(st.integers(INSIDE // 2, INSIDE)) // 8 * 8
            value[where : where + 8] = struct.pack("<q", draw(st.sampled_from(NUMBERS)))
        else:
            where = draw(st.integers(0, len(value) - 1))
            piece = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f"]))
            value[where : where + len(piece)] = piece
    return bytes(value)


@given(damaged())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_fare_alike(value: bytes) -> None:
    check([GOOD, value], [GOOD])
    check([value, GOOD], [value])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bits_become_the_same_floats(bits: list[int]) -> None:
    doubles = np.array(bits, np.uint64).view(np.float64)
    with np.errstate(all="ignore"):
        floats = doubles.astype(np.float32)
    made = Signature(
        (Feature("a"), Feature("w", DType.FLOAT64), Feature("n", DType.INT32), Feature("l", DType.INT64)),
        tuple(ModelInput(name, (name,)) for name in "awnl"),
        Task.REGRESSION,
        "y",
        not_finite=NotFinite.ALLOW,
    )
    python = ArrowDecoder(made, limits=LIMITS)
    native = NativeArrowDecoder(made, python, limits=LIMITS, id_field=None)
    whole = pa.array(np.array(bits, np.uint64))
    zeros = pa.array([0] * len(bits), pa.int8())
    for one, other in ((doubles, floats), (floats, doubles)):
        numbers = {"a": pa.array(one), "w": pa.array(other), "n": zeros, "l": zeros}
        batch = record_batch([written(numbers), written({**numbers, "a": whole, "w": whole, "l": whole})] * 2)
        for _ in range(2):
            assert told(native.decode(batch)) == told(python.decode(batch))


def test_texts_as_features_are_read_in_python() -> None:
    made = Signature((Feature("s", DType.STRING),), (ModelInput("s", ("s",)),), Task.REGRESSION, "y")
    assert isinstance(native_arrow_decoder(made, limits=LIMITS), ArrowDecoder)


def test_tensors_that_do_not_fit_are_refused() -> None:
    _, native = pair(*POLICIES[0])
    native.decode(record_batch([GOOD]))
    reader: Any = native._reader
    with pytest.raises(ValueError, match="do not fit"):
        reader.read([GOOD], lambda rows: [np.empty(rows, np.uint8)])
