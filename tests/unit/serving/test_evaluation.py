"""Evaluations measure what a version would answer to records."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.serving.evaluation import evaluate
from millrace.serving.loading import LoadedModel, load
from millrace.testing.models import linear_bundle

ROWS = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 2], [2, 0, 0]], np.float32)
TRUTH = ["no", "yes", "yes", "yes"]
"""The model says the last one otherwise: its weights are -1, 0 and 1."""


@pytest.fixture
def model(tmp_path: Path) -> Iterator[LoadedModel]:
    loaded = load(linear_bundle(tmp_path / "bundle"))
    yield loaded
    loaded.runtime.close()


def accuracy(model: LoadedModel, data: NDArray[np.float32]) -> tuple[float, int]:
    metrics = {metric.name: metric for metric in evaluate(model, data, TRUTH).metrics}
    return metrics["accuracy"].value, metrics["accuracy"].rows


def test_answers_are_compared_with_the_truth(model: LoadedModel) -> None:
    assert accuracy(model, ROWS) == (0.75, 4)


def test_a_row_that_the_model_refuses_counts_in_no_metric(model: LoadedModel) -> None:
    with_a_gap = ROWS.copy()
    with_a_gap[3, 0] = np.nan
    assert accuracy(model, with_a_gap) == (1.0, 3)


def test_the_digest_is_that_of_the_rows_and_labels_in_whatever_form_they_come(model: LoadedModel) -> None:
    named = {name: ROWS[:, column] for column, name in enumerate("abc")}
    digest = evaluate(model, ROWS, TRUTH).digest
    assert evaluate(model, named, np.array(TRUTH)).digest == digest
    assert evaluate(model, pa.table(named), TRUTH).digest == digest
    assert evaluate(model, ROWS, ["no"] * 4).digest != digest
    assert evaluate(model, ROWS + 1, TRUTH).digest != digest


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        (ROWS, TRUTH[:3], "3 labels for 4 rows"),
        (ROWS[:0], [], "there are no rows"),
        (ROWS[:, :2], TRUTH, "3 feature names for 2 columns"),
        (ROWS, ["no", "yes", "yes", "maybe"], "'maybe' is none of the classes"),
        (ROWS * np.nan, TRUTH, "scores none of the rows"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    model: LoadedModel, rows: NDArray[np.float32], labels: list[str], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        evaluate(model, rows, labels)
