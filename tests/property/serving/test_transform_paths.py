"""Whatever way rows come to a model with a transform, and however they are cut, the model gets the same bits."""

import json
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.records import RecordBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.serving.transforming import Preparation, accepted_signature
from millrace.transform import Program, Transform

MODEL: Final = Signature(
    (Feature("x", nullable=True), Feature("y", nullable=True)),
    (ModelInput("m", ("x", "y")),),
    Task.REGRESSION,
    "scores",
)
COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "x", "nullable": True},
    {"name": "y", "type": "float32", "nullable": True},
    {"name": "n", "type": "int64"},
    {"name": "t", "type": "string"},
    {"name": "at", "type": "timestamp"},
]
KINDS: Final = (pa.float64(), pa.float32(), pa.int64(), pa.string(), pa.timestamp("ms"))
SAMPLE: Final = pa.table(
    {
        "x": [0.0, 1.0, None],
        "y": pa.array([2.0, None, -1.0], pa.float32()),
        "n": [1, 2, 3],
        "t": ["1", "", "5"],
        "at": [0, 1, 2],
    }
)
POOL: Final[list[dict[str, Any]]] = [
    {"step": "fill", "columns": ["x"], "learn_value": "median"},
    {"step": "fill", "columns": ["y"], "value": 0.5},
    {"step": "clip", "columns": ["x", "y"], "low": -10, "high": 10},
    {"step": "scale", "columns": ["x"], "by": "robust"},
    {"step": "scale", "columns": ["y"], "by": "minmax"},
    {"step": "bucket", "column": "y", "into": "part", "edges": [-1, 0, 1]},
    {"step": "compute", "into": "x", "expression": "x * 3 + sin(n / 7)"},
    {"step": "compute", "into": "y", "expression": "coalesce(y, x) if n % 2 == 0 else log1p(abs(y))"},
    {"step": "date_parts", "column": "at", "parts": ["hour", "week"], "timezone": "America/New_York"},
    {"step": "filter", "where": "n != 5 and not starts_with(t, '9')"},
    {"step": "compute", "into": "z", "expression": "length(upper(t)) + max(n, 0)"},
    {"step": "cast", "columns": {"x": "float32"}},
]
TEXT_LAST: Final[list[dict[str, Any]]] = [{"step": "to_number", "columns": ["t"]}]

rows = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(-(2**63), 2**63 - 1),
        st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-999, 999).map(str),
        st.integers(0, 2**42),
    ),
    min_size=1,
    max_size=30,
)


def prepared(preparation: Preparation, pieces: list[Any], method: str) -> tuple[list[Any], list[Any]]:
    """Rows that are left with their bits, and rows that are refused with the reason, over all pieces."""
    left, refused, start = [], [], 0
    for piece in pieces:
        made = getattr(preparation, method)(piece)
        left += [(start + int(row), made.columns.tensors[0][place].tobytes()) for place, row in enumerate(made.source)]
        refused += [(start + row, error.step, error.reason) for row, error in made.refused]
        start += len(piece)
    return left, refused


@given(st.permutations(POOL), rows, st.lists(st.integers(0, 30), max_size=3))
def test_records_and_tables_give_a_model_equal_bits(
    steps: list[dict[str, Any]], values: list[tuple[Any, ...]], cuts: list[int]
) -> None:
    document = {"transform": "t", "input": COLUMNS, "steps": [*steps, *TEXT_LAST]}
    program = Program.fit(Transform.parse(document, subject="t"), SAMPLE)
    preparation = Preparation(program, MODEL)
    names = [column["name"] for column in COLUMNS]
    table = pa.table(
        {
            name: pa.array(column, kind)
            for name, column, kind in zip(names, zip(*values, strict=True), KINDS, strict=True)
        }
    )
    records = [json.dumps(dict(zip(names, row, strict=True))).encode() for row in values]
    decoder = JsonDecoder(accepted_signature(program, MODEL), limits=Limits())
    count = len(records)
    nothing = [None] * count
    places = np.zeros(count, np.int32), np.arange(count), np.zeros(count, np.int64)
    decoded = decoder.decode(RecordBatch("t.features", *places, nothing, records, nothing))
    assert not decoded.rejections
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    spans = [slice(begin, end) for begin, end in pairwise(edges) if begin < end]
    expected = prepared(preparation, [table], "prepare_table")
    assert prepared(
        preparation, [table.slice(span.start, span.stop - span.start) for span in spans], "prepare_table"
    ) == (expected)
    assert prepared(preparation, [decoded.columns.take(span) for span in spans], "prepare") == expected
