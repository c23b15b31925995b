"""A row of a file and a record of a topic with the same values are the same columns."""

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.tables import decode_table
from millrace.core.signature import DType, Feature
from millrace.testing.records import binary_signature, record_batch

SIGNATURE = binary_signature(Feature("a", DType.FLOAT32), Feature("b", DType.FLOAT32, nullable=True))


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.none() | st.integers(-(2**53), 2**53)), max_size=20))
def test_a_row_of_a_table_is_a_record_of_json(rows: list[tuple[float, int | None]]) -> None:
    values = [json.dumps({"a": a, "b": b}).encode() for a, b in rows]
    of_json = JsonDecoder(SIGNATURE, limits=Limits()).decode(record_batch(values))
    columns = list(zip(*rows, strict=True)) or [(), ()]
    table = pa.table({"a": pa.array(columns[0], pa.float64()), "b": pa.array(columns[1], pa.int64())})
    of_table = decode_table(table, SIGNATURE)
    assert of_table.source.tolist() == of_json.source.tolist()
    assert of_table.columns.tensors[0].tobytes() == of_json.columns.tensors[0].tobytes()
