from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.signature import DType, Task
from millrace.serving.export import Origin, export, export_function
from millrace.serving.loading import LoadOptions, load
from millrace.serving.manifest import TrainingSource
from millrace.serving.sample import Sample, read_sample
from millrace.testing.models import linear_model, make_model

ORIGIN = Origin("iris", datetime(2026, 5, 1, tzinfo=UTC), TrainingSource(files=("iris.csv",), rows=150))
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@pytest.fixture(scope="module")
def iris() -> tuple[Any, Any]:
    data = load_iris()
    return data.data.astype(np.float32), np.array(data.target_names)[data.target]


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=500),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10),
    "random forest": lambda: RandomForestClassifier(n_estimators=10, random_state=1),
    "lightgbm": lambda: LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_an_exported_classifier_answers_as_the_estimator(kind: str, iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    estimator = CLASSIFIERS[kind]().fit(rows, labels)
    bundle = export(estimator, rows, origin=ORIGIN, directory=tmp_path / "b", labels=labels, feature_names=NAMES)
    model = load(bundle)
    outputs = model.runtime.infer(FeatureColumns(model.signature, (rows,)))
    assert outputs.labels is not None
    assert [model.signature.classes[label] for label in outputs.labels] == estimator.predict(rows).tolist()
    np.testing.assert_allclose(outputs.scores, estimator.predict_proba(rows), atol=1e-5)
    assert model.signature.task is Task.MULTICLASS
    assert [feature.name for feature in model.signature.features] == list(NAMES)


def test_the_same_task_from_each_type_gives_the_same_classes(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    clear = np.arange(len(rows)) < 50  # setosa, which no model confuses
    for number, make in enumerate(CLASSIFIERS.values()):
        bundle = export(make().fit(rows, labels), rows, origin=ORIGIN, directory=tmp_path / str(number))
        outputs = load(bundle).runtime.infer(FeatureColumns(bundle.signature, (rows,)))
        assert outputs.labels is not None
        assert np.array_equal(outputs.labels == 0, clear)


@pytest.mark.parametrize("make", [LinearRegression, lambda: LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)])
def test_an_exported_regression_answers_as_the_estimator(make: Callable[[], Any], tmp_path: Path) -> None:
    rows, values = load_diabetes(return_X_y=True)
    rows = rows.astype(np.float32)
    estimator = make().fit(rows, values)
    bundle = export(estimator, rows, origin=ORIGIN, directory=tmp_path / "b", labels=values)
    outputs = load(bundle).runtime.infer(FeatureColumns(bundle.signature, (rows,)))
    np.testing.assert_allclose(outputs.scores, estimator.predict(rows), rtol=1e-3)
    assert [metric.name for metric in bundle.manifest.metrics] == ["mae", "rmse"]
    assert bundle.profile.scores is not None
    assert len(bundle.profile.scores.counts) == 1


def test_a_bundle_carries_what_it_needs_to_be_watched(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    binary = labels == "setosa"
    estimator = LogisticRegression().fit(rows, binary)
    bundle = export(estimator, rows, origin=ORIGIN, directory=tmp_path / "b", labels=binary)
    manifest = bundle.manifest
    metrics = {metric.name: metric for metric in manifest.metrics}
    assert set(metrics) == {"accuracy", "log_loss", "brier", "roc_auc"}
    assert all(metric.lower <= metric.value <= metric.upper and metric.rows == 150 for metric in manifest.metrics)
    assert metrics["accuracy"].value == 1.0
    assert bundle.profile.isotonic is not None
    assert bundle.profile.rows == 150
    assert manifest.signature.classes == ("False", "True")
    assert {"scikit-learn", "skl2onnx", "onnxruntime"} <= set(manifest.environment.packages)
    assert manifest.training.rows == 150
    assert bundle.sample is not None


def test_the_features_reference_may_be_more_rows_than_those_that_are_measured(
    iris: tuple[Any, Any], tmp_path: Path
) -> None:
    rows, labels = iris
    given: dict[str, Any] = {"origin": ORIGIN, "feature_names": NAMES}
    estimator = LogisticRegression(max_iter=500).fit(rows, labels)
    few = export(estimator, rows[::3], directory=tmp_path / "few", labels=labels[::3], **given)
    more = export(estimator, rows[::3], directory=tmp_path / "more", labels=labels[::3], reference=rows, **given)
    assert (few.profile.rows, more.profile.rows) == (50, 150)
    assert {sum(entry.counts) for entry in few.profile.cells} == {50}
    assert {sum(entry.counts) for entry in more.profile.cells} == {150}
    assert more.profile.scores == few.profile.scores
    assert more.manifest.metrics == few.manifest.metrics


def test_samples_of_every_form_imply_the_same_signature(iris: tuple[Any, Any]) -> None:
    rows, _ = iris
    columns = dict(zip(NAMES, rows.T, strict=True))
    samples = [columns, {name: values.tolist() for name, values in columns.items()}, pa.table(columns)]
    expected = read_sample(rows, NAMES)
    for sample in samples:
        found = read_sample(sample)
        assert found.signature == expected.signature
        assert np.array_equal(found.tensors[0], expected.tensors[0])


def test_missing_values_make_a_feature_nullable() -> None:
    columns = read_sample({"a": [1.0, None, 3.0], "b": [1, 2, 3]})
    assert [feature.nullable for feature in columns.signature.features] == [True, False]


def test_texts_and_arrays_are_inputs_of_their_own() -> None:
    columns = read_sample({"city": ["a", "b"], "age": [1, 2], "flag": [True, False], "image": [[1.0, 2.0], [3.0, 4.0]]})
    kinds = {feature.name: (feature.dtype, feature.shape) for feature in columns.signature.features}
    assert kinds == {
        "city": (DType.STRING, ()),
        "age": (DType.INT64, ()),
        "flag": (DType.BOOL, ()),
        "image": (DType.FLOAT32, (2,)),
    }
    assert [tensor.shape for tensor in columns.tensors] == [(2, 1), (2, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({}, "no rows"),
        ({"a": []}, "no rows"),
        ({"a": [1, 2], "b": [1]}, "different numbers of rows"),
        ({"a": [1 + 2j]}, "complex"),
        (np.zeros(3), "dimensions"),
    ],
)
def test_what_is_no_sample_is_refused(sample: Sample, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_sample(sample)


def test_an_onnx_classifier_that_answers_label_and_scores_can_be_given(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    estimator = LogisticRegression(max_iter=500).fit(rows, labels)
    first = export(estimator, rows, origin=ORIGIN, directory=tmp_path / "first")
    assert first.model is not None
    given = onnx.load(first.model)
    assert len(given.graph.output) == 2  # as the converters write it
    again = export(given, rows, origin=ORIGIN, directory=tmp_path / "again", classes=estimator.classes_.tolist())
    outputs = load(again).runtime.infer(FeatureColumns(again.signature, (rows,)))
    assert outputs.labels is not None
    assert [again.signature.classes[label] for label in outputs.labels] == estimator.predict(rows).tolist()


def test_an_onnx_model_can_be_given(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    model = linear_model(np.array([1, 2, 3], np.float32))
    bundle = export(model, rows, origin=ORIGIN, directory=tmp_path / "b", classes=("no", "yes"))
    assert bundle.signature.task is Task.BINARY
    load(bundle).close()


def test_scores_that_are_no_probabilities_are_refused(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, _ = iris
    logits = make_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
    )
    assert isinstance(logits, onnx.ModelProto)
    with pytest.raises(RequestError, match=r"no probabilities .*softmax"):
        export(logits, rows, origin=ORIGIN, directory=tmp_path / "b", classes=("a", "b", "c", "d"))


def test_a_classifier_without_probabilities_is_refused(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    with pytest.raises(RequestError, match=r"LinearSVC gives no probabilities .*CalibratedClassifierCV"):
        export(LinearSVC().fit(rows, labels), rows, origin=ORIGIN, directory=tmp_path / "b")


def test_a_converter_that_fails_says_so_in_one_line(
    iris: tuple[Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Odd(BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            return rows[:, 0]

    with pytest.raises(RequestError, match="the converter for sklearn refuses Odd") as caught:
        export(Odd(), iris[0], origin=ORIGIN, directory=tmp_path / "b")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_estimator_that_its_converter_cannot_take_prints_no_megabytes(
    iris: tuple[Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=3).fit(*iris)
    try:
        export(estimator, iris[0], origin=ORIGIN, directory=tmp_path / "b")
    except RequestError as error:
        assert len(str(error)) < 500  # noqa: PT017 - a converter that has learned it is as good
    assert capfd.readouterr() == ("", "")


def test_what_no_converter_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no converter takes a builtins\.object .*sklearn"):
        export(object(), np.zeros((1, 1)), origin=ORIGIN, directory=tmp_path / "b")


def test_labels_must_be_those_of_the_rows(iris: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels = iris
    estimator = LogisticRegression(max_iter=500).fit(rows, labels)
    with pytest.raises(RequestError, match="3 labels for 150 rows"):
        export(estimator, rows, origin=ORIGIN, directory=tmp_path / "b", labels=labels[:3])
    with pytest.raises(RequestError, match="'tulip' is none of the classes"):
        export(estimator, rows, origin=ORIGIN, directory=tmp_path / "b", labels=["tulip"] * 150)


def test_a_function_is_served_only_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text("def rain(features):\n    return features['humidity'] / 100\n")
    monkeypatch.syspath_prepend(tmp_path)
    sample = {"humidity": np.linspace(0, 100, 11)}
    bundle = export_function("my_rules:rain", sample, origin=ORIGIN, directory=tmp_path / "b", classes=("dry", "rain"))
    with pytest.raises(RequestError, match=r"my_rules:rain.*python_functions: true"):
        load(bundle)
    model = load(bundle, options=LoadOptions(python_functions=True))
    outputs = model.runtime.infer(FeatureColumns(model.signature, (np.array([[20], [80]], np.float32),)))
    np.testing.assert_allclose(outputs.scores, [[0.8, 0.2], [0.2, 0.8]], rtol=1e-6)
    assert model.runtime.device == "python"
