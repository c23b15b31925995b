from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.core.errors import Reason, RequestError
from millrace.transform import Program, Transform, Transformed

TYPES = {
    pa.float64(): "float64",
    pa.int64(): "int64",
    pa.string(): "string",
    pa.bool_(): "bool",
    pa.timestamp("ms"): "timestamp",
}


def transform_of(table: pa.Table, *steps: Mapping[str, Any]) -> Transform:
    columns = [{"name": field.name, "type": TYPES[field.type], "nullable": True} for field in table.schema]
    return Transform.parse({"transform": "test", "input": columns, "steps": list(steps)}, subject="test")


def apply(table: pa.Table, *steps: Mapping[str, Any]) -> Transformed:
    return Program.fit(transform_of(table, *steps), table).apply(table)


def columns(table: pa.Table, *steps: Mapping[str, Any]) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = apply(table, *steps).table.to_pydict()
    return made


NUMBERS = pa.table({"a": [1.0, None, 3.0], "b": [4, 5, 6]})


def test_select_keeps_in_its_order() -> None:
    assert list(columns(NUMBERS, {"step": "select", "columns": ["b", "a"]})) == ["b", "a"]


def test_drop_and_rename() -> None:
    assert columns(NUMBERS, {"step": "drop", "columns": ["a"]}, {"step": "rename", "columns": {"b": "c"}}) == {
        "c": [4, 5, 6]
    }


@pytest.mark.parametrize(
    ("values", "kind", "target", "made", "refused"),
    [
        ([1.0, 2.5, None], pa.float64(), "int64", [1, None], [1]),
        ([float("nan"), 1e300, -0.0], pa.float64(), "int64", [None, 0], [1]),
        ([2**31, -(2**31)], pa.int64(), "int32", [-(2**31)], [0]),
        ([0, 1, 2], pa.int64(), "bool", [False, True], [2]),
        (["12", "+7", " -3 ", "1.5", ""], pa.string(), "int64", [12, 7, -3], [3, 4]),
        (["2147483648", "-2147483648"], pa.string(), "int32", [-(2**31)], [0]),
        (["1.5", ".5e1", "1e", "0x1"], pa.string(), "float64", [1.5, 5.0], [2, 3]),
        (["true", "false", "yes", None], pa.string(), "bool", [True, False, None], [2]),
        ([True, None], pa.bool_(), "float64", [1.0, None], []),
        ([1, None], pa.int64(), "string", ["1", None], []),
        ([0.1], pa.float64(), "float32", [float(np.float32(0.1))], []),
    ],
)
def test_cast(values: list[Any], kind: pa.DataType, target: str, made: list[Any], refused: list[int]) -> None:
    table = pa.table({"x": pa.array(values, kind)})
    result = apply(table, {"step": "cast", "columns": {"x": target}})
    assert result.table.column("x").to_pylist() == made
    assert [(each.row, each.step, each.reason) for each in result.refused] == [
        (row, 1, Reason.WRONG_TYPE) for row in refused
    ]


def test_to_number_reads_other_signs_and_missing_values() -> None:
    table = pa.table({"x": ["1.234,5", "n/a", "", "12 kg"]})
    step = {"step": "to_number", "columns": ["x"], "decimal": ",", "thousands": ".", "missing": ["", "n/a"]}
    result = apply(table, step)
    assert result.table.column("x").to_pylist() == [1234.5, None, None]
    assert [refused.row for refused in result.refused] == [3]


def test_to_timestamp_of_texts_and_of_numbers() -> None:
    table = pa.table({"t": ["1970-01-01T00:00:01", "1970-13-01T00:00:00"], "n": [1.5, 2.0]})
    step = {"step": "to_timestamp", "columns": ["t", "n"]}
    result = apply(table, step, {"step": "cast", "columns": {"t": "int64", "n": "int64"}})
    assert result.table.to_pydict() == {"t": [1_000], "n": [1_500]}
    assert [refused.row for refused in result.refused] == [1]


def test_date_parts_on_a_clock_of_a_place() -> None:
    table = pa.table({"t": pa.array([0], pa.timestamp("ms"))})
    step = {"step": "date_parts", "column": "t", "parts": ["year", "weekday", "hour"], "timezone": "Asia/Tokyo"}
    made = columns(table, step)
    assert (made["t_year"], made["t_weekday"], made["t_hour"]) == ([1970], [3], [9])


def test_fill_with_a_value_and_with_what_was_learnt() -> None:
    table = pa.table({"a": [1.0, None, 3.0], "c": ["x", "x", None], "n": pa.array([1, None, 2], pa.int64())})
    made = columns(
        table,
        {"step": "fill", "columns": ["a"], "learn_value": "mean"},
        {"step": "fill", "columns": ["c"], "learn_value": "most_frequent"},
        {"step": "fill", "columns": ["n"], "value": 7},
    )
    assert made == {"a": [1.0, 2.0, 3.0], "c": ["x", "x", "x"], "n": [1, 7, 2]}


def test_clip_to_bounds_and_to_quantiles() -> None:
    table = pa.table({"a": [0.0, 5.0, 10.0, None], "b": [0.0, 50.0, 100.0, 1e6]})
    made = columns(
        table,
        {"step": "clip", "columns": ["a"], "low": 1, "high": 9},
        {"step": "clip", "columns": ["b"], "quantiles": [0.0, 0.5]},
    )
    assert made == {"a": [1.0, 5.0, 9.0, None], "b": [0.0, 50.0, 75.0, 75.0]}


@pytest.mark.parametrize(
    ("by", "expected"), [("standard", [-1.0, 1.0]), ("minmax", [0.0, 1.0]), ("robust", [-1.0, 1.0])]
)
def test_scale(by: str, expected: list[float]) -> None:
    table = pa.table({"a": [2.0, 4.0], "same": [7.0, 7.0]})
    made = columns(table, {"step": "scale", "columns": ["a", "same"], "by": by})
    assert made == {"a": expected, "same": [0.0, 0.0]}


def test_scaling_learns_from_numbers_only() -> None:
    table = pa.table({"a": [0.0, float("nan"), float("inf"), None, 10.0]})
    made = columns(table, {"step": "scale", "columns": ["a"], "by": "minmax"})["a"]
    assert (made[0], made[4]) == (0.0, 1.0)


def test_one_hot_of_learnt_categories_knows_no_others() -> None:
    table = pa.table({"c": ["b", "a", "b", None]})
    program = Program.fit(transform_of(table, {"step": "one_hot", "column": "c"}), table)
    assert program.apply(table).table.to_pydict() == {"c_a": [0, 1, 0, 0], "c_b": [1, 0, 1, 0]}
    assert program.apply(pa.table({"c": ["z"]})).table.to_pydict() == {"c_a": [0], "c_b": [0]}


def test_one_hot_learns_the_most_frequent() -> None:
    table = pa.table({"c": ["a", "b", "b", "c", "c"]})
    assert list(columns(table, {"step": "one_hot", "column": "c", "most": 2})) == ["c_b", "c_c"]


def test_bucket_by_edges_and_by_quantiles() -> None:
    table = pa.table({"a": [0.0, 1.0, 2.5, None]})
    edges = columns(table, {"step": "bucket", "column": "a", "into": "r", "edges": [1, 2]})
    assert edges["r"] == [0, 1, 2, None]
    halves = columns(table, {"step": "bucket", "column": "a", "into": "r", "quantiles": 2})
    assert halves["r"] == [0, 1, 1, None]


def test_parse_json_reads_fields_of_any_name_and_refuses_what_is_none() -> None:
    texts = ['{"class": 1, "x y": "u", "more": [1]}', '{"class": "1"}', "not JSON", '{"x y": null}', None, "[]"]
    step = {"step": "parse_json", "column": "p", "fields": {"class": "int64", "x y": "string"}}
    result = apply(pa.table({"p": texts}), step, {"step": "drop", "columns": ["p"]})
    assert result.table.to_pydict() == {"class": [1, None, None], "x y": ["u", None, None]}
    assert [(each.row, each.reason) for each in result.refused] == [(row, Reason.MALFORMED) for row in (1, 2, 5)]


def test_two_broken_texts_do_not_make_a_good_one() -> None:
    step = {"step": "parse_json", "column": "p", "fields": {"a": "int64"}}
    result = apply(pa.table({"p": ['{"a": 1, "b": "', '"}', '{"a": 2}, {"a": 3}']}), step)
    assert [each.row for each in result.refused] == [0, 1, 2]


def test_filter_keeps_what_is_true() -> None:
    result = apply(NUMBERS, {"step": "filter", "where": "a > 1"})
    assert result.table.to_pydict() == {"a": [3.0], "b": [6]}
    assert result.source.tolist() == [2]
    assert result.refused == ()


@pytest.mark.parametrize(("keep", "rows"), [("first", [0, 1, 3]), ("last", [2, 3, 4])])
def test_deduplicate_keeps_one_row_of_each_key(keep: str, rows: list[int]) -> None:
    table = pa.table({"k": ["a", None, "a", "b", None]})
    assert apply(table, {"step": "deduplicate", "by": ["k"], "keep": keep}).source.tolist() == rows


def test_rows_are_numbered_as_they_were_given_through_all_steps() -> None:
    table = pa.table({"x": ["1", "no", "3", "4", "5"]})
    result = apply(
        table,
        {"step": "cast", "columns": {"x": "int64"}},
        {"step": "filter", "where": "x != 3"},
        {"step": "compute", "into": "y", "expression": "x / 0"},
    )
    assert result.source.tolist() == [0, 3, 4]
    assert result.table.column("y").to_pylist() == [float("inf")] * 3


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"step": "select", "columns": ["z"]}, "there is no column 'z'"),
        ({"step": "rename", "columns": {"a": "b"}}, "two columns would be named 'b'"),
        ({"step": "scale", "columns": ["t"]}, "'t' is string, not a number"),
        ({"step": "date_parts", "column": "a", "parts": ["hour"]}, "'a' is float64, not a time"),
        ({"step": "cast", "columns": {"t": "timestamp"}}, "cannot become timestamp"),
        ({"step": "compute", "into": "x", "expression": "t + 1"}, r"\+ needs numbers, not string"),
        ({"step": "compute", "into": "x", "expression": "a +"}, "is no expression"),
        ({"step": "filter", "where": "a"}, "not true or false"),
        ({"step": "fill", "columns": ["a"], "value": "x"}, "is no value of 'a'"),
        ({"step": "one_hot", "column": "a"}, "'a' is float64"),
        ({"step": "drop", "columns": ["a", "b", "t"]}, "no column is left"),
    ],
)
def test_a_step_that_cannot_work_is_named_by_its_number(step: dict[str, Any], words: str) -> None:
    table = pa.table({"a": [1.0], "b": [2], "t": ["x"]})
    first = {"step": "clip", "columns": ["a"], "low": 0}
    with pytest.raises(RequestError, match=rf"transform test: step 2 \({step['step']}\): .*{words}"):
        Program.fit(transform_of(table, first, step), table)
