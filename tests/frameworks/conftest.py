"""One task for a model of every framework. Exported, admitted and served, all must give the same classes.

Collected only by `make test-frameworks`, which installs the frameworks: elsewhere these files cannot be imported. Each
file runs in a process of its own, because PyTorch and TensorFlow in one process crash.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs
from millrace.serving.admission import admit
from millrace.serving.bundle import Bundle
from millrace.serving.export import Origin, export
from millrace.serving.loading import load

collect_ignore_glob = [] if os.environ.get("MILLRACE_FRAMEWORKS") else ["test_*.py"]

CLASSES = ("setosa", "versicolor", "virginica")

Iris: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
Export: TypeAlias = Callable[..., Bundle]
Score: TypeAlias = Callable[[Bundle, NDArray[np.float32]], Outputs]


@pytest.fixture(scope="session")
def iris() -> Iris:
    data = load_iris()
    return data.data.astype(np.float32), data.target


@pytest.fixture
def to_bundle(tmp_path: Path) -> Export:
    def run(estimator: object, sample: Any, **options: Any) -> Bundle:  # noqa: ANN401 - as export takes them
        origin = Origin("iris", datetime(2026, 5, 1, tzinfo=UTC))
        return export(estimator, sample, origin=origin, directory=tmp_path / "bundle", **options)

    return run


@pytest.fixture
def score() -> Score:
    def run(bundle: Bundle, rows: NDArray[np.float32]) -> Outputs:
        model = load(bundle)
        outputs = model.runtime.infer(FeatureColumns(model.signature, (rows,)))
        model.close()
        return outputs

    return run


@pytest.fixture
def learns_iris(iris: Iris, to_bundle: Export, score: Score) -> Callable[[object], None]:
    """Asserts that a model fitted on iris is exported, admitted, and gives the classes that all others give."""

    def check(estimator: object) -> None:
        rows, labels = iris
        names = np.array(CLASSES)[labels]
        bundle = to_bundle(estimator, rows, labels=names, classes=CLASSES)
        centres = np.stack([rows[labels == label].mean(axis=0) for label in range(3)])
        of_centres, of_rows = score(bundle, centres).labels, score(bundle, rows).labels
        assert of_centres is not None
        assert of_centres.tolist() == [0, 1, 2]
        assert np.mean(of_rows == labels) > 0.94
        invariance = admit(bundle)
        assert invariance is not None
        assert invariance.holds, invariance

    return check
