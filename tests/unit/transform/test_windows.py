"""The window step: its document, its columns, and what no window can hold."""

from typing import Any

import pyarrow as pa
import pytest

from millrace.core.errors import Reason, RequestError
from millrace.transform import Program, StreamWindows, Transform, Transformed, WindowedTransform

COUNT = {"into": "n", "function": "count"}
WINDOW: dict[str, Any] = {"step": "window", "key": ["k"], "time": "t", "size_secs": 10, "aggregates": [COUNT]}


def transform(*steps: dict[str, Any], **changes: object) -> Transform:
    columns = [
        {"name": "k", "type": "string", "nullable": True},
        {"name": "t", "type": "timestamp", "nullable": True},
        {"name": "x", "nullable": True},
    ]
    document = {"transform": "w", "input": columns, "steps": [*steps, {**WINDOW, **changes}]}
    return Transform.parse(document, subject="w")


def table(*rows: tuple[Any, ...]) -> pa.Table:
    k, t, x = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {"k": pa.array(k, pa.string()), "t": pa.array(t, pa.timestamp("ms")), "x": pa.array(x, pa.float64())}
    )


def made(rows: pa.Table, **changes: object) -> Transformed:
    return Program.of(transform(**changes)).apply(rows)


def test_a_start_is_in_its_window_and_an_end_is_not() -> None:
    found = made(table(("a", -1, 1.0), ("a", 0, 1.0), ("a", 9_999, 1.0), ("a", 10_000, 1.0)))
    starts = [start.timestamp() for start in found.table.column("window_start").to_pylist()]
    assert [start - starts[1] for start in starts] == [-10, 0, 10]
    assert found.table.column("n").to_pylist() == [1, 2, 1]


def test_rows_ascend_by_window_and_key_and_name_their_last_record() -> None:
    found = made(table(("b", 0, None), ("a", 20_000, None), (None, 1, None), ("b", 2, None), ("a", 3, None)))
    assert found.table.column("k").to_pylist() == ["b", None, "a"]
    assert found.source.tolist() == [3, 2, 1]
    assert found.late == 1


def test_aggregates_of_no_value_are_null_and_counts_zero() -> None:
    functions = ["sum", "mean", "min", "max", "distinct", "count"]
    aggregates = [COUNT, *({"into": name, "function": name, "of": "x"} for name in functions)]
    found = made(table(("a", 0, None)), aggregates=aggregates)
    [row] = found.table.to_pylist()
    assert [row[name] for name in ("n", *functions)] == [1, None, None, None, None, 0, 0]


def test_what_no_window_can_hold_is_refused_and_does_not_move_time() -> None:
    aggregates = [{"into": "x_sum", "function": "sum", "of": "x"}]
    found = made(
        table(("a", None, 1.0), ("a", 90_000, float("inf")), ("a", 2**60, 1.0), ("a", -(2**63), 1.0), ("a", 0, 1.0)),
        aggregates=aggregates,
    )
    assert [(each.row, each.step, each.reason) for each in found.refused] == [
        (0, 1, Reason.MISSING_FIELD),
        (1, 1, Reason.NOT_FINITE),
        (2, 1, Reason.WRONG_TYPE),
        (3, 1, Reason.WRONG_TYPE),
    ]
    assert (found.table.num_rows, found.late) == (1, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hop_secs": 3}, r"step 1 \(window\).*hop_secs \(3\) does not divide size_secs \(10\)"),
        ({"size_secs": 86_400, "hop_secs": 1}, "a row would be in 86400 windows"),
        ({"aggregates": [{"into": "s", "function": "sum"}]}, "sum needs a column: of"),
        ({"aggregates": [COUNT, COUNT]}, "two columns would be named 'n'"),
        ({"aggregates": [{"into": "window_end", "function": "count"}]}, "two columns would be named 'window_end'"),
        ({"size_secs": 0}, r"step 1 \(window\), size_secs"),
        ({"aggregates": [{"into": "s", "function": "median", "of": "x"}]}, r"step 1 \(window\)"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_the_steps_number(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        transform(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": ["x"]}, r"step 1 \(window\): the key 'x' is float64"),
        ({"key": ["y"]}, r"step 1 \(window\): there is no column 'y'"),
        ({"time": "k"}, r"step 1 \(window\): 'k' is no time"),
        (
            {"aggregates": [{"into": "s", "function": "sum", "of": "k"}]},
            r"step 1 \(window\): sum of 'k', which is string",
        ),
        ({"aggregates": [{"into": "s", "function": "mean", "of": "t"}]}, "mean of 't', which is timestamp"),
    ],
)
def test_columns_that_a_window_cannot_take_are_refused_with_the_steps_number(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        Program.of(transform(**changes))


def test_a_stream_needs_one_window_and_nothing_else_that_looks_at_other_rows() -> None:
    plain = {"transform": "w", "input": [{"name": "x"}], "steps": []}
    with pytest.raises(RequestError, match="has 0 windows"):
        WindowedTransform.of(Program.of(Transform.parse(plain, subject="w")))
    with pytest.raises(RequestError, match="has 1 windows and 2 steps that look at other rows"):
        WindowedTransform.of(Program.of(transform({"step": "deduplicate", "by": ["x"]})))


def test_event_time_closes_the_windows_of_silent_keys_and_what_comes_then_is_late() -> None:
    stream = StreamWindows(WindowedTransform.of(Program.of(transform(grace_secs=5))), {})
    assert stream.add(table(("a", 0, None), ("b", 12_000, None))).table.num_rows == 0
    assert stream.advance(14_999).table.num_rows == 0
    assert stream.advance(15_000).table.column("k").to_pylist() == ["a"]
    assert stream.add(table(("a", 9_000, None), ("b", 13_000, None))).late == 1
    assert stream.close().table.column("n").to_pylist() == [2]
