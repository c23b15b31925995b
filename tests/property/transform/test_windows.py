"""Windows have equal rows over a table and over a stream, however the stream is cut and its keys are interleaved."""

import json
from itertools import pairwise
from random import Random
from typing import Any, Final

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.transform import Program, StreamWindows, Transform, WindowedTransform
from millrace.transform.exact import as_integer, exact_sum, nearest

SECOND: Final = 1_000
INPUT: Final[list[dict[str, Any]]] = [
    {"name": "station", "type": "string", "nullable": True},
    {"name": "floor", "type": "int32"},
    {"name": "time", "type": "timestamp", "nullable": True},
    {"name": "x", "nullable": True},
    {"name": "f", "type": "float32", "nullable": True},
    {"name": "n", "type": "int64", "nullable": True},
    {"name": "t", "type": "string", "nullable": True},
]
AGGREGATES: Final[list[dict[str, Any]]] = [
    {"into": "rows", "function": "count"},
    *(
        {"into": f"{name}_{function}", "function": function, "of": name}
        for name in ("x", "f", "n")
        for function in ("count", "sum", "mean", "min", "max", "distinct")
    ),
    {"into": "first", "function": "min", "of": "time"},
    {"into": "texts", "function": "distinct", "of": "t"},
]
KINDS: Final = (pa.string(), pa.int32(), pa.timestamp("ms"), pa.float64(), pa.float32(), pa.int64(), pa.string())


def program(size: int, hop: int, grace: int) -> Program:
    window = {
        "step": "window",
        "key": ["station", "floor"],
        "time": "time",
        "size_secs": size * hop,
        "hop_secs": hop,
        "grace_secs": grace,
        "aggregates": AGGREGATES,
    }
    steps = [
        {"step": "filter", "where": "is_null(x) or x != 7"},
        window,
        {"step": "compute", "into": "range", "expression": "x_max - x_min"},
    ]
    return Program.of(Transform.parse({"transform": "w", "input": INPUT, "steps": steps}, subject="w"))


records = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.integers(0, 1),
        st.none() | st.integers(-40 * SECOND, 40 * SECOND),
        st.none() | st.floats(width=64) | st.sampled_from([0.0, -0.0, 7.0, 1e308, 0.1]),
        st.none() | st.floats(width=32),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.sampled_from(["u", "v", ""]),
    ),
    max_size=40,
)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(KINDS)
    names = [column["name"] for column in INPUT]
    return pa.table({name: pa.array(values, kind) for name, values, kind in zip(names, columns, KINDS, strict=True)})


def bits(tables: list[pa.RecordBatch]) -> list[str]:
    """Rows as texts that tell every float from every other, in no order."""
    return sorted(
        json.dumps({name: value.hex() if isinstance(value, float) else str(value) for name, value in row.items()})
        for table in tables
        for row in table.to_pylist()
    )


@given(records, st.integers(1, 4), st.integers(1, 10), st.integers(0, 15), st.lists(st.integers(0, 40), max_size=5))
def test_a_stream_and_a_table_give_equal_rows(
    rows: list[tuple[Any, ...]], size: int, hop: int, grace: int, cuts: list[int]
) -> None:
    whole = program(size, hop, grace)
    table = table_of(rows)
    expected = whole.apply(table)
    states: dict[str, Any] = {}
    stream = StreamWindows(WindowedTransform.of(whole), states)
    emitted = []
    for begin, end in pairwise([0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]):
        emitted.append(stream.add(table.slice(begin, end - begin)))
        states.update(json.loads(json.dumps(states)))  # as a store that writes everything down
    emitted.append(stream.close())
    assert bits([each.table for each in emitted]) == bits([expected.table])
    assert sum(each.late for each in emitted) == expected.late
    assert sum(len(each.refused) for each in emitted) == len(expected.refused)
    assert not states


@given(records, st.permutations(range(4)))
def test_how_keys_are_interleaved_changes_nothing(rows: list[tuple[Any, ...]], order: list[int]) -> None:
    whole = program(2, 5, 3)
    keys = [(station, floor) for station in ("a", "b") for floor in (0, 1)]
    named = [row for row in rows if row[0] is not None]
    apart = [row for place in order for row in named if row[:2] == keys[place]]
    one, other = (whole.apply(table_of(each)) for each in (named, apart))
    assert one.table.equals(other.table)
    assert one.late == other.late


@given(st.lists(st.integers(-40 * SECOND, 40 * SECOND), max_size=30))
def test_what_is_in_order_is_never_late_and_in_as_many_windows_as_overlap(times: list[int]) -> None:
    rows = [("a", 0, time, 1.0, None, None, None) for time in sorted(times)]
    made = program(3, 5, 0).apply(table_of(rows))
    assert made.late == 0
    assert sum(made.table.column("rows").to_pylist()) == 3 * len(rows)
    assert all(
        start <= first < end
        for start, first, end in zip(
            *(made.table.column(name).to_pylist() for name in ("window_start", "first", "window_end")), strict=True
        )
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.randoms(use_true_random=False))
def test_an_exact_sum_knows_no_order(values: list[float], random: Random) -> None:
    total = nearest(sum(map(as_integer, values)))
    assert exact_sum(values).hex() == total.hex()
    random.shuffle(values)
    assert exact_sum(values).hex() == total.hex()
