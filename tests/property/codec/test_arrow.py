"""Hostile Arrow IPC: a record is decoded whole or rejected whole, and nothing else happens."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from millrace.codec.arrow import ArrowDecoder
from millrace.codec.limits import Limits
from millrace.core.signature import DType, Feature
from millrace.testing.records import binary_signature, record_batch

TABLE = pa.table(
    {
        "a": [1.0, 2.0],
        "s": pa.array(["x", "yy"]).dictionary_encode(),
        "t": pa.array([[1.0, 2.0], [3.0, 4.0]]),
    }
)
DECODER = ArrowDecoder(
    binary_signature(Feature("a"), Feature("s", DType.STRING), Feature("t", shape=(2,))),
    limits=Limits(rows=100, expanded_bytes=100_000),
)


def written(compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, TABLE.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


WHOLE = [written(None), written("lz4")]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    value = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(value) - 1))
        piece = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\xff" * 8]))
        value[where : where + len(piece)] = piece
    return bytes(value)


@given(damaged() | st.binary(max_size=64))
@settings(max_examples=600, deadline=None)
def test_damage_is_a_row_or_a_rejection_and_neighbours_are_untouched(value: bytes) -> None:
    decoded = DECODER.decode(record_batch([WHOLE[0], value, WHOLE[1]]))
    rejected = [rejection.row for rejection in decoded.rejections]
    sources = decoded.source.tolist()
    assert sources[:2] == [0, 0]
    assert sources[-2:] == [2, 2]
    assert (rejected == [1]) == (1 not in sources)
    assert decoded.columns.column("a")[[0, 1, -2, -1]].tolist() == [1, 2, 1, 2]
    assert decoded.columns.column("s")[[0, 1, -2, -1]].tolist() == ["x", "yy", "x", "yy"]
