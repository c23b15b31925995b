"""A transform in front of a model: what fits, what records bring, and what becomes of rows."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.signature import DType, NotFinite
from millrace.serving.bundle import MANIFEST, TRANSFORM, Bundle, attach_transform, open_bundle
from millrace.serving.loading import load
from millrace.serving.rows import columns_from_values
from millrace.serving.transforming import UntransformableError, accepted_signature
from millrace.testing.models import linear_bundle, linear_signature
from millrace.transform import Program, Transform

FEATURES = [{"step": "compute", "into": name, "expression": f"x * {index}"} for index, name in enumerate("abc")]


def program(
    *steps: dict[str, Any], columns: tuple[dict[str, Any], ...] = ({"name": "x", "nullable": True},)
) -> Program:
    document = {"transform": "t", "input": list(columns), "steps": [*steps, *FEATURES]}
    return Program.of(Transform.parse(document, subject="t"))


def attached(folder: Path, *steps: dict[str, Any]) -> Bundle:
    return attach_transform(linear_bundle(folder), program(*steps))


def rows(bundle: Bundle, *values: float) -> FeatureColumns:
    return columns_from_values(bundle.accepts, {"x": np.array(values)})


def test_records_bring_the_transforms_columns_and_the_model_gets_its_features(tmp_path: Path) -> None:
    bundle = attached(tmp_path, {"step": "fill", "columns": ["x"], "value": 2.0})
    assert [(each.name, each.dtype, each.nullable) for each in bundle.accepts.features] == [("x", DType.FLOAT64, True)]
    assert bundle.signature == linear_signature()
    with_transform = load(bundle)
    alone = load(linear_bundle(tmp_path / "alone"))
    values = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]], np.float32)
    expected = alone.engine.infer(FeatureColumns(linear_signature(), (values,)))
    found = with_transform.engine.infer(rows(bundle, 1.0, np.nan))
    assert found.outputs.scores.tobytes() == expected.outputs.scores.tobytes()
    assert found.bins == expected.bins


def test_rows_are_refused_with_the_step_left_out_or_answered(tmp_path: Path) -> None:
    bundle = attached(tmp_path, {"step": "filter", "where": "x != 1"}, {"step": "cast", "columns": {"x": "int64"}})
    model = load(bundle)
    found = model.engine.infer(rows(bundle, 0.0, 1.0, 2.5, 3.0, np.inf))
    assert found.scored.tolist() == [0, 3]
    assert [(row, error.reason, error.detail) for row, error in found.refused] == [
        (2, Reason.WRONG_TYPE, "step 2 (cast): x has no equal in int64"),
        (4, Reason.WRONG_TYPE, "step 2 (cast): x has no equal in int64"),
    ]
    told = found.answering(5)
    assert [row for row, error in told.refused if error.reason is Reason.LEFT_OUT] == [1]
    assert model.engine.infer(rows(bundle, 1.0)).scored.tolist() == []
    with pytest.raises(InvalidRecordError, match="step 2"):
        model.engine.infer_whole(rows(bundle, 0.0, 2.5))
    assert model.engine.infer_whole(rows(bundle, 0.0, 1.0, 2.0)).scored.tolist() == [0, 2]


def test_what_the_model_does_not_take_is_refused_at_the_output(tmp_path: Path) -> None:
    bundle = attached(tmp_path)
    [(row, error)] = load(bundle).engine.infer(rows(bundle, 0.0, 1e300)).refused
    assert (row, error.reason) == (1, Reason.NOT_FINITE)
    assert isinstance(error, UntransformableError)
    assert error.step == len(FEATURES) + 1
    assert error.detail.startswith("output: ")
    assert pickle.loads(pickle.dumps(error)).step == error.step  # noqa: S301 -- our own bytes


def test_a_bundle_knows_its_transform_by_its_digest(tmp_path: Path) -> None:
    plain = linear_bundle(tmp_path / "plain")
    bundle = attached(tmp_path / "with")
    assert bundle.digest != plain.digest
    assert bundle.manifest.transform == program().fingerprint
    again = open_bundle(bundle.directory)
    assert again.program == bundle.program
    assert attach_transform(again, program()).digest == bundle.digest
    with pytest.raises(RequestError, match="was trained with the transform"):
        attach_transform(again, program({"step": "clip", "columns": ["x"], "low": 0}))


def test_a_bundle_whose_transform_was_changed_is_refused(tmp_path: Path) -> None:
    bundle = attached(tmp_path)
    text = (tmp_path / TRANSFORM).read_text()
    (tmp_path / TRANSFORM).write_text(text.replace("x * 2", "x * 3"))
    with pytest.raises(RequestError, match="is not the transform that the manifest names"):
        open_bundle(tmp_path)
    (tmp_path / TRANSFORM).write_text("[]")
    with pytest.raises(RequestError, match="is no fitted transform"):
        open_bundle(tmp_path)
    (tmp_path / TRANSFORM).unlink()
    with pytest.raises(RequestError, match=r"lacks the transform\.json"):
        open_bundle(tmp_path)
    (tmp_path / MANIFEST).write_bytes(bundle.manifest.model_copy(update={"transform": None}).to_json())
    assert open_bundle(tmp_path).program is None


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"step": "drop", "columns": ["x"]}, *FEATURES], r"step 1 \(drop\): no column is left"),
        ([*FEATURES, {"step": "drop", "columns": ["b"]}], "its output has no column 'b', a feature of the model"),
        ([*FEATURES, {"step": "cast", "columns": {"b": "string"}}], "its output 'b' is string, and the model wants"),
        ([{"step": "deduplicate", "by": ["x"]}, *FEATURES], r"step 1 \(deduplicate\) looks at other rows"),
        (
            [
                {
                    "step": "window",
                    "key": ["k"],
                    "time": "t",
                    "size_secs": 1,
                    "aggregates": [{"into": "x", "function": "count"}],
                },
                *FEATURES,
            ],
            r"step 1 \(window\) looks at other rows.* \(let a topology write its windows to a topic",
        ),
    ],
)
def test_a_transform_that_does_not_make_the_features_is_refused(
    tmp_path: Path, steps: list[dict[str, Any]], said: str
) -> None:
    columns = [{"name": "x"}, {"name": "k", "type": "string"}, {"name": "t", "type": "timestamp"}]
    chosen = columns if steps[0]["step"] == "window" else columns[:1]
    document = {"transform": "t", "input": chosen, "steps": steps}
    with pytest.raises(RequestError, match=said):
        attach_transform(linear_bundle(tmp_path), Program.of(Transform.parse(document, subject="t")))


def test_only_floats_may_be_missing_in_a_record(tmp_path: Path) -> None:
    columns = ({"name": "x"}, {"name": "n", "type": "int64", "nullable": True})
    bundle = attach_transform(linear_bundle(tmp_path), program(columns=columns))
    with pytest.raises(RequestError, match="input 'n' is int64 and nullable"):
        _ = bundle.accepts
    assert bundle.program is not None
    table = pa.table({"x": [1.0], "n": pa.array([None], pa.int64())})
    assert bundle.program.apply(table).table.num_rows == 1  # as a file's column it may


def test_times_come_as_milliseconds_and_infinity_comes_through() -> None:
    columns = ({"name": "x", "type": "float32"}, {"name": "at", "type": "timestamp"}, {"name": "s", "type": "string"})
    accepted = accepted_signature(program(columns=columns), linear_signature())
    assert [each.dtype for each in accepted.features] == [DType.FLOAT32, DType.INT64, DType.STRING]
    assert accepted.not_finite is NotFinite.ALLOW
    assert (accepted.task, accepted.classes) == (linear_signature().task, linear_signature().classes)


def test_a_model_without_a_transform_may_be_given_one_that_makes_its_features_row_by_row(tmp_path: Path) -> None:
    plain, own = linear_bundle(tmp_path / "plain"), attached(tmp_path / "own")
    other = program({"step": "clip", "columns": ["x"], "low": 0})
    assert plain.program_for(None) is None
    assert plain.program_for(other) == other
    assert own.program_for(None) == own.program_for(program()) == own.program
    with pytest.raises(RequestError, match="was trained with sha256:"):
        own.program_for(other)
    with pytest.raises(RequestError, match=r"step 1 \(deduplicate\) looks at other rows"):
        plain.program_for(program({"step": "deduplicate", "by": ["x"]}))
