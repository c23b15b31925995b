"""A row's values never depend on the rows beside it: batches of any size give the same bits."""

from typing import Any, Final

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.transform import Program, Transform

FIT: Final = pa.table(
    {"x": [0.0, 1.0, 5.0, -3.0], "n": [1, 2, 3, 4], "t": ["1", "2.5", "a", "-4"], "c": ["u", "v", "v", "w"]}
)
STEPS: Final[list[dict[str, Any]]] = [
    {"step": "fill", "columns": ["x"], "learn_value": "mean"},
    {"step": "clip", "columns": ["x"], "quantiles": [0.05, 0.95]},
    {"step": "scale", "columns": ["x"], "by": "standard"},
    {"step": "bucket", "column": "x", "into": "part", "quantiles": 3},
    {"step": "one_hot", "column": "c"},
    {"step": "to_number", "columns": ["t"]},
    {
        "step": "compute",
        "into": "y",
        "expression": "exp(x) * log1p(abs(coalesce(t, 0))) / (n % 7) if n > 0 else sqrt(abs(x))",
    },
    {"step": "filter", "where": "is_null(t) or t < 3"},
    {"step": "cast", "columns": {"n": "int32"}},
]
PROGRAM: Final = Program.fit(
    Transform.parse(
        {
            "transform": "rows",
            "input": [
                {"name": "x", "nullable": True},
                {"name": "n", "type": "int64"},
                {"name": "t", "type": "string", "nullable": True},
                {"name": "c", "type": "string", "nullable": True},
            ],
            "steps": STEPS,
        },
        subject="rows",
    ),
    FIT,
)

rows = st.lists(
    st.tuples(
        st.none() | st.floats(),
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(max_size=5) | st.floats(allow_nan=False).map(str) | st.integers().map(str),
        st.none() | st.sampled_from(["u", "v", "z", ""]),
    ),
    max_size=40,
)


def table_of(values: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*values, strict=True)) or [()] * 4
    kinds = (pa.float64(), pa.int64(), pa.string(), pa.string())
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)], names=["x", "n", "t", "c"]
    )


def as_bytes(batch: pa.RecordBatch) -> bytes:
    """Bit for bit, NaN and negative zero included."""
    plain = pa.RecordBatch.from_arrays(
        [pa.array(column.to_pylist(), column.type) for column in batch.columns], batch.schema.names
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_batch(plain)
    written: bytes = sink.getvalue().to_pybytes()
    return written


@given(rows, st.integers(0, 40))
def test_two_batches_are_as_good_as_one(values: list[tuple[Any, ...]], cut: int) -> None:
    whole = PROGRAM.apply(table_of(values))
    first, second = PROGRAM.apply(table_of(values[:cut])), PROGRAM.apply(table_of(values[cut:]))
    joined = pa.Table.from_batches([first.table, second.table]).combine_chunks().to_batches()
    assert as_bytes(joined[0] if joined else first.table) == as_bytes(whole.table)
    assert [*first.source, *(second.source + len(values[:cut]))] == whole.source.tolist()
    assert len(first.refused) + len(second.refused) == len(whole.refused)


@given(rows)
def test_every_row_is_left_out_refused_or_transformed_once(values: list[tuple[Any, ...]]) -> None:
    made = PROGRAM.apply(table_of(values))
    refused = [each.row for each in made.refused]
    assert len(set(refused)) == len(refused)
    assert not set(refused) & set(made.source.tolist())
    assert made.source.tolist() == sorted(set(made.source.tolist()))


@given(rows)
def test_an_exported_program_gives_the_same_bits(values: list[tuple[Any, ...]]) -> None:
    again = Program.load(PROGRAM.document(), subject="export")
    assert as_bytes(again.apply(table_of(values)).table) == as_bytes(PROGRAM.apply(table_of(values)).table)
