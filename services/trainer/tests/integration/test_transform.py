"""A candidate for a model with a transform: the same document, learnt anew, and judged on what comes to both models."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.core.signature import Task
from millrace.serving.bundle import Bundle, attach_transform, open_bundle
from millrace.serving.loading import load
from millrace.serving.manifest import SignatureDocument, TrainingSource
from millrace.serving.training import EVENT_ID, EVENT_TIME, LABEL
from millrace.testing.models import linear_bundle
from millrace.transform import Program, Transform
from millrace_trainer.adapters.evaluation import evaluate
from millrace_trainer.adapters.making import make_candidate

DOCUMENT: Final[dict[str, Any]] = {
    "transform": "rain",
    "input": [{"name": "x", "nullable": True}, {"name": "t", "type": "string"}],
    "steps": [
        {"step": "filter", "where": "t != 'broken'"},
        {"step": "to_number", "columns": ["t"]},
        {"step": "fill", "columns": ["x"], "learn_value": "mean"},
        {"step": "scale", "columns": ["x"]},
        *({"step": "compute", "into": name, "expression": f"x + t * {index}"} for index, name in enumerate("abc")),
        {"step": "select", "columns": ["a", "b", "c"]},
    ],
}
MODULE: Final = """
import numpy as np
from sklearn.linear_model import LogisticRegression

def train(table, context):
    assert context.features == ("a", "b", "c")
    assert not set(table[context.event_id].to_pylist()) & {"0", "1"}  # left out, and refused
    features = np.stack([table[name].to_numpy() for name in context.features], axis=1)
    return LogisticRegression().fit(features, table[context.label].to_pylist())
"""


def rows(random: np.random.Generator, shift: float) -> pa.Table:
    """Labelled rows, of which the first is left out by the filter and the second is refused."""
    x: NDArray[np.float64] = random.normal(shift, 2, 200)
    label = np.where(x > shift, "yes", "no")
    x[::10] = np.nan
    texts = [f"{value:.3f}" for value in random.normal(size=200)]
    texts[:2] = ["broken", "no number"]
    return pa.table(
        {
            EVENT_ID: list(map(str, range(200))),
            EVENT_TIME: np.arange(200),
            LABEL: label.tolist(),
            "x": x,
            "t": texts,
        }
    )


@pytest.fixture
def champion(tmp_path: Path) -> Bundle:
    program = Program.fit(Transform.parse(DOCUMENT, subject="t"), rows(np.random.default_rng(1), 0))
    return attach_transform(linear_bundle(tmp_path / "champion"), program)


@pytest.fixture
def task(champion: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    assert champion.program is not None
    (tmp_path / "rain_training.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    random = np.random.default_rng(2)
    for name in ("train", "holdout"):
        pq.write_table(rows(random, 5), tmp_path / f"{name}.parquet")
    return {
        "model": champion.manifest.name,
        "task": Task.BINARY.value,
        "signature": SignatureDocument.of(champion.signature).model_dump_json(),
        "transform": champion.program.transform.document(),
        "training": TrainingSource().model_dump_json(),
        "created_at": datetime(2026, 11, 23, tzinfo=UTC).isoformat(),
        "seed": 1,
        "request": {},
        "train": str(tmp_path / "train.parquet"),
        "holdout": str(tmp_path / "holdout.parquet"),
        "function": "rain_training:train",
        "scratch": str(tmp_path / "scratch"),
        "bundle": str(tmp_path / "candidate"),
    }


def test_the_candidate_learns_the_document_anew_and_is_judged_on_rows_that_come_to_it(
    champion: Bundle, task: dict[str, Any], tmp_path: Path
) -> None:
    make_candidate(task)
    candidate = open_bundle(tmp_path / "candidate")
    assert candidate.program is not None
    assert champion.program is not None
    assert candidate.program.transform == champion.program.transform
    assert candidate.program == Program.fit(champion.program.transform, pq.read_table(tmp_path / "train.parquet"))
    assert candidate.manifest.transform != champion.manifest.transform
    assert candidate.profile.rows == 396
    comparison = evaluate(load(champion), load(candidate), tmp_path / "holdout.parquet", lambda: None)
    assert comparison.rows == 198
    assert comparison.candidate.value > comparison.champion.value


def test_a_document_that_no_longer_makes_the_features_is_refused(task: dict[str, Any]) -> None:
    task["transform"] = {**DOCUMENT, "steps": [*DOCUMENT["steps"][:-1], {"step": "select", "columns": ["a", "b"]}]}
    with pytest.raises(RequestError, match="its output has no column 'c'"):
        make_candidate(task)
