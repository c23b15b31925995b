from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from millrace.core.errors import Reason, RequestError
from millrace.transform import Program, Transform, json_schema

DOCUMENT: dict[str, Any] = {
    "transform": "weather",
    "input": [{"name": "temp"}, {"name": "wind", "nullable": True}, {"name": "station", "type": "string"}],
    "steps": [
        {"step": "fill", "columns": ["wind"], "learn_value": "median"},
        {"step": "scale", "columns": ["temp", "wind"]},
        {"step": "one_hot", "column": "station"},
        {"step": "compute", "into": "gust", "expression": "max(temp, wind) * 2"},
    ],
    "output": [{"name": "gust", "type": "float32"}, {"name": "station_A", "type": "float32"}],
}
TABLE = pa.table({"wind": [3.0, None, 5.0], "temp": [1.0, 2.0, 3.0], "station": ["A", "B", "A"], "more": [[], [], []]})


@pytest.fixture
def transform() -> Transform:
    return Transform.parse(DOCUMENT, subject="weather.json")


def test_the_output_has_the_declared_columns_and_types(transform: Transform) -> None:
    made = Program.fit(transform, TABLE).apply(TABLE).table
    assert made.schema == pa.schema([("gust", pa.float32()), ("station_A", pa.float32())])
    assert made.column("station_A").to_pylist() == [1.0, 0.0, 1.0]


def test_export_and_import_give_the_same_text_and_the_same_rows(transform: Transform) -> None:
    program = Program.fit(transform, TABLE)
    again = Program.load(program.document(), subject="export")
    assert again.document() == program.document()
    assert again.fingerprint == program.fingerprint
    assert again.apply(TABLE).table == program.apply(TABLE).table


def test_the_fingerprint_is_of_what_was_learnt_too(transform: Transform) -> None:
    other = TABLE.set_column(1, "temp", pa.array([10.0, 20.0, 30.0]))
    assert Program.fit(transform, TABLE).fingerprint != Program.fit(transform, other).fingerprint


def test_the_fingerprint_never_changes(transform: Transform) -> None:
    # Deployments are refused by it: a changed one would refuse every model that was trained before.
    assert Program.fit(transform, TABLE).fingerprint == (
        "sha256:40a68cae42b047d2a406fc71c8739fbc8f122d5ff66abd685ea863782edc7e44"
    )


def test_a_missing_value_refuses_its_row_at_the_input_and_at_the_output(transform: Transform) -> None:
    program = Program.fit(transform, TABLE)
    result = program.apply(pa.table({"temp": [None, 1.0], "wind": [1.0, 1.0], "station": ["A", "A"]}))
    assert [(refused.row, refused.step, refused.reason) for refused in result.refused] == [(0, 0, Reason.MISSING_FIELD)]
    assert result.source.tolist() == [1]


def test_types_of_other_tables_are_read_as_the_nearest(transform: Transform) -> None:
    program = Program.fit(transform, TABLE)
    table = pa.table(
        {
            "temp": pa.array([1, 2], pa.int16()),
            "wind": pa.array([Decimal("3.0"), Decimal("5.0")]),
            "station": pa.array(["A", "B"]).dictionary_encode(),
        }
    )
    same = pa.table({"temp": [1.0, 2.0], "wind": [3.0, 5.0], "station": ["A", "B"]})
    assert program.apply(table).table == program.apply(same).table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"temp": [1.0], "wind": [1.0]}, "input: there is no column 'station'"),
        ({"temp": [[1.0]], "wind": [1.0], "station": ["A"]}, "input: 'temp' is list"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(transform: Transform, table: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Program.fit(transform, TABLE).apply(pa.table(table))


def test_what_must_be_learnt_cannot_be_run_without(transform: Transform) -> None:
    with pytest.raises(RequestError, match=r"step 1 \(fill\) must be fitted"):
        Program.of(transform)


def test_nothing_to_learn_needs_no_data() -> None:
    document = {"transform": "t", "input": [{"name": "a"}], "steps": [{"step": "clip", "columns": ["a"], "low": 0}]}
    program = Program.of(Transform.parse(document, subject="t"))
    assert program.apply(pa.table({"a": [-1.0, 1.0]})).table.to_pydict() == {"a": [0.0, 1.0]}
    assert [column.name for column in program.check()] == ["a"]


def test_an_output_that_no_step_makes_is_refused_before_any_data() -> None:
    document = {"transform": "t", "input": [{"name": "a"}], "output": [{"name": "b"}]}
    with pytest.raises(RequestError, match="transform t: output: there is no column 'b'"):
        Program.of(Transform.parse(document, subject="t"))


def test_a_table_of_no_rows_is_transformed(transform: Transform) -> None:
    made = Program.fit(transform, TABLE).apply(TABLE.slice(0, 0))
    assert made.table.num_rows == 0
    assert made.table.schema.names == ["gust", "station_A"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": [{"step": "clip", "columns": ["a"]}]}, r"step 1 \(clip\): name either low, high or both"),
        ({"steps": [{"step": "melt"}]}, r"t.json: step 1.*`step` is one of .*'clip'"),
        ({"steps": [{"step": "drop", "columns": ["a"], "colour": 1}]}, r"step 1 \(drop\), colour: no such setting"),
        ({"steps": [{"step": "drop", "columns": []}]}, r"step 1 \(drop\), columns: .*at least 1 item"),
        ({"input": [{"name": "a"}, {"name": "a"}]}, "input names the column 'a' twice"),
        ({"input": [{"name": "a", "type": "float16"}]}, "input.0.type"),
    ],
)
def test_a_document_that_is_none_is_refused_with_the_place(change: dict[str, Any], words: str) -> None:
    document = {"transform": "t", "input": [{"name": "a"}], **change}
    with pytest.raises(RequestError, match=words):
        Transform.parse(document, subject="t.json")


def test_the_document_and_its_schema_agree(transform: Transform) -> None:
    Draft202012Validator.check_schema(json_schema())
    assert Draft202012Validator(json_schema()).is_valid(DOCUMENT)
    assert not Draft202012Validator(json_schema()).is_valid({**DOCUMENT, "steps": [{"step": "melt"}]})
    assert Transform.parse(transform.document(), subject="again") == transform


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("transform: t\ninput:\n  - name: a\nsteps:\n  - step: deduplicate\n    by: [a]\n")
    assert Transform.load(path).is_stateful
