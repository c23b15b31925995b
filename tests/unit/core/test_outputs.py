import numpy as np
import pytest

from millrace.core.errors import FatalError, InvalidRecordError, Reason
from millrace.core.outputs import read_outputs
from millrace.core.signature import Feature, ModelInput, Signature, Task


def signature(task: Task, classes: tuple[str, ...] = (), label_output: str | None = None) -> Signature:
    return Signature(
        (Feature("x"),), (ModelInput("x", ("x",)),), task, "scores", label_output=label_output, classes=classes
    )


BINARY = signature(Task.BINARY, ("no", "yes"))
THREE = signature(Task.MULTICLASS, ("a", "b", "c"), label_output="label")
VALUE = signature(Task.REGRESSION)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_the_score_of_the_second_class_is_enough(shape: tuple[int, ...]) -> None:
    outputs = read_outputs(BINARY, {"scores": np.array([0.25, 0.75]).reshape(shape)}, 2)
    assert outputs.scores.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert outputs.scores.dtype == np.float32
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [0, 1]


def test_equal_scores_are_the_first_class() -> None:
    outputs = read_outputs(BINARY, {"scores": np.array([[0.5, 0.5]], np.float32)}, 1)
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [0]


@pytest.mark.parametrize("labels", [np.array(["c", "a"], object), np.array([["c"], ["a"]], object)])
def test_a_label_output_is_obeyed(labels: np.ndarray[tuple[int, ...], np.dtype[np.object_]]) -> None:
    scores = np.full((2, 3), 1 / 3, np.float32)
    outputs = read_outputs(THREE, {"scores": scores, "label": labels}, 2)
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [2, 0]


def test_number_labels_are_named_by_their_text() -> None:
    classes = signature(Task.MULTICLASS, ("10", "20", "30"), label_output="label")
    raw = {"scores": np.ones((2, 3), np.float32), "label": np.array([30, 10])}
    outputs = read_outputs(classes, raw, 2)
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [2, 0]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_regression_has_one_value_a_row(shape: tuple[int, ...]) -> None:
    outputs = read_outputs(VALUE, {"scores": np.array([1.5, 2.5, -1.0]).reshape(shape)}, 3)
    assert outputs.scores.tolist() == [1.5, 2.5, -1.0]
    assert outputs.labels is None
    assert outputs.take(slice(1, 2)).scores.tolist() == [2.5]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_score_that_is_not_finite_names_its_row(bad: float) -> None:
    with pytest.raises(InvalidRecordError, match="row 1 of 3") as caught:
        read_outputs(VALUE, {"scores": np.array([1.0, bad, 2.0])}, 3)
    assert caught.value.reason is Reason.MODEL_ERROR


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones((2, 4), np.float32), r"shape \(2, 4\) for 2 rows"),
        (np.ones((3, 3), np.float32), r"shape \(3, 3\) for 2 rows"),
        (np.array(["a", "b"]), "instead of numbers"),
    ],
)
def test_a_model_with_other_outputs_than_its_signature_stops_the_scorer(
    scores: np.ndarray[tuple[int, ...], np.dtype[np.generic]], words: str
) -> None:
    with pytest.raises(FatalError, match=words):
        read_outputs(THREE, {"scores": scores, "label": np.array(["a", "b"])}, 2)


def test_a_missing_output_stops_the_scorer() -> None:
    with pytest.raises(FatalError, match="no output 'label', only"):
        read_outputs(THREE, {"scores": np.ones((2, 3), np.float32)}, 2)


def test_a_label_that_is_no_class_is_the_record_s_fault() -> None:
    raw = {"scores": np.ones((1, 3), np.float32), "label": np.array(["z"])}
    with pytest.raises(InvalidRecordError, match="'z' is none of its classes"):
        read_outputs(THREE, raw, 1)
