"""From an estimator and a sample to a bundle that can be pushed.

The sample says what a feature record looks like: names, types and shapes. Best it holds the rows on which the model was
validated, because it also becomes the reference that later data is compared with, and with labels the baseline of its
metrics. At least 30 times the rows of an audit window are wanted, see the auditor's guide.
"""

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.baseline import Estimate, measure_classes, measure_values
from millrace.core.columns import FeatureColumns
from millrace.core.errors import FatalError, InvalidRecordError, RequestError
from millrace.core.outputs import Outputs
from millrace.core.profiling import build_profile
from millrace.core.signature import ModelInput, Signature, Task
from millrace.serving.bundle import Bundle, write_bundle
from millrace.serving.converters import Converted, convert
from millrace.serving.manifest import (
    BaselineMetric,
    Environment,
    Manifest,
    RuntimeKind,
    SignatureDocument,
    TrainingSource,
)
from millrace.serving.onnx import OnnxRuntime
from millrace.serving.python import PythonRuntime, import_function
from millrace.serving.runtime import Runtime
from millrace.serving.sample import Sample, read_sample

Labels: TypeAlias = Sequence[Any] | NDArray[Any]

SAMPLE_ROWS: Final = 64
"""Rows of the sample that the bundle keeps for warm-up."""

_ALWAYS: Final = ("millrace", "numpy")
_TOLERATED_SHARE: Final = 0.01  # rows that may fall on the other side of a threshold, which is float32 now


@dataclass(frozen=True, slots=True)
class Origin:
    """What a manifest says beyond the model itself.

    Attributes:
        name: Name of the model in the registry.
        created_at: When the model was made, with its time zone.
        training: Which rows it learned from.
    """

    name: str
    created_at: datetime
    training: TrainingSource = field(default_factory=TrainingSource)


def export(
    estimator: object,
    sample: Sample,
    *,
    origin: Origin,
    directory: Path,
    labels: Labels | None = None,
    classes: Sequence[object] | None = None,
    feature_names: Sequence[str] | None = None,
    reference: Sample | None = None,
) -> Bundle:
    """Convert a fitted estimator to ONNX and write its bundle.

    Takes estimators and pipelines of scikit-learn, models of LightGBM, XGBoost, PyTorch and Keras, and ONNX models. A
    classifier must answer with probabilities: give a network a softmax or sigmoid as its last layer.

    Args:
        estimator: The fitted model.
        sample: Feature rows, best the validation rows.
        origin: Its name, when it was made, and from what.
        directory: Where to write; must be empty or not exist.
        labels: The true classes or values of the sample's rows.
        classes: Names of the classes in the order of the scores; by default those the estimator was fitted with. A
            model of PyTorch, Keras or ONNX without classes is a regression.
        feature_names: Names of the columns of a matrix; by default `f0`, `f1`, ...
        reference: Rows that the features' reference is made of; by default the sample. What features look like does not
            depend on what was learned from, so these may be all rows there are, such as a whole year of them.

    Raises:
        RequestError: The estimator cannot be converted, its extra is not installed, or the converted model does not
            answer as the estimator does.
    """
    given = read_sample(sample, feature_names)
    converted = convert(estimator, given.signature)
    fitted = _names(getattr(estimator, "classes_", ()))
    columns = _with_outputs(given, converted, fitted if classes is None else _names(classes))
    predicted = _predict(estimator, given, fitted)
    outputs = _score(OnnxRuntime(converted.model, columns.signature), columns)
    if _differing(outputs, predicted) and converted.label_output and columns.signature.classes == fitted:
        # Some classifiers do not predict their most probable class; then the label is an output of its own.
        signature = replace(columns.signature, label_output=converted.label_output)
        columns = FeatureColumns(signature, columns.tensors)
        outputs = _score(OnnxRuntime(converted.model, signature), columns)
    if problem := _differing(outputs, predicted):
        raise RequestError(
            f"the converted model answers otherwise than the estimator: {problem}",
            remedy="use an estimator that its converter supports better, or convert it yourself",
        )
    manifest = _Draft(origin, RuntimeKind.ONNX, (*_ALWAYS, "onnx", "onnxruntime", *converted.packages))
    watched = columns if reference is None else read_sample(reference, feature_names)
    return _write(directory, manifest, columns, outputs, labels=labels, model=converted.model, reference=watched)


def export_function(
    function: str,
    sample: Sample,
    *,
    origin: Origin,
    directory: Path,
    labels: Labels | None = None,
    classes: Sequence[object] = (),
    feature_names: Sequence[str] | None = None,
) -> Bundle:
    """Write the bundle of a plain Python function; see `millrace.serving.python` for what it must be.

    Args:
        function: `package.module:function`, importable here and wherever it will score.
        sample: As for `export`.
        origin: As for `export`.
        directory: As for `export`.
        labels: As for `export`.
        classes: Names of the classes in the order of the scores; none for a regression.
        feature_names: As for `export`.

    Raises:
        RequestError: The function cannot be imported or fails on the sample.
    """
    given = read_sample(sample, feature_names)
    inputs = tuple(tensor.name for tensor in given.signature.inputs)
    columns = _with_outputs(given, Converted(b"", inputs, "scores", None, ()), _names(classes))
    outputs = _score(PythonRuntime(import_function(function), columns.signature), columns)
    manifest = _Draft(origin, RuntimeKind.PYTHON, _ALWAYS, function)
    return _write(directory, manifest, columns, outputs, labels=labels, model=None)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What is known of a manifest before the rows are measured."""

    origin: Origin
    runtime: RuntimeKind
    packages: tuple[str, ...]
    function: str | None = None


def _names(classes: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, classes))


def _with_outputs(given: FeatureColumns, converted: Converted, classes: tuple[str, ...]) -> FeatureColumns:
    """The sample under the signature of the converted model."""
    inputs = tuple(
        ModelInput(name, tensor.features) for name, tensor in zip(converted.inputs, given.signature.inputs, strict=True)
    )
    task = {0: Task.REGRESSION, 2: Task.BINARY}.get(len(classes), Task.MULTICLASS)
    signature = Signature(given.signature.features, inputs, task, converted.score_output, classes=classes)
    return FeatureColumns(signature, given.tensors)


def _score(runtime: Runtime, columns: FeatureColumns) -> Outputs:
    try:
        outputs = runtime.infer(columns)
    except (InvalidRecordError, FatalError) as error:
        raise RequestError(
            f"the model cannot score the sample: {error.message}", remedy="give rows of the kind it was fitted with"
        ) from None
    finally:
        runtime.close()
    scores = outputs.scores
    if outputs.labels is not None and not (
        scores.min() >= 0 and scores.max() <= 1 + 1e-6 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    ):
        raise RequestError(
            "the scores of the classes are no probabilities", remedy="add a softmax or a sigmoid as the last layer"
        )
    return outputs


def _predict(estimator: Any, given: FeatureColumns, fitted: tuple[str, ...]) -> NDArray[Any] | None:  # noqa: ANN401
    """What the estimator itself answers, as class indexes or values, where it takes one matrix of numbers."""
    if not (hasattr(estimator, "get_params") and hasattr(estimator, "predict") and len(given.tensors) == 1):
        return None
    predicted = np.asarray(estimator.predict(given.tensors[0]))
    return class_indexes(fitted, predicted) if fitted else predicted


def _differing(outputs: Outputs, predicted: NDArray[Any] | None) -> str:
    """How the outputs differ from what the estimator predicted; nothing if they do not."""
    if predicted is None:
        return ""
    if outputs.labels is not None:
        differing = outputs.labels != predicted
    else:
        values = predicted.astype(np.float64).reshape(len(outputs))
        differing = np.abs(outputs.scores - values) > 1e-3 * max(
            float(values.std()), float(np.abs(values).mean()), 1e-9
        )
    count = int(differing.sum())
    return f"{count} of {len(outputs)} rows" if count > _TOLERATED_SHARE * len(outputs) else ""


def class_indexes(classes: tuple[str, ...], labels: Labels) -> NDArray[np.intp]:
    """The index of each label among the classes; `1` and `"1"` are the same label.

    Raises:
        RequestError: A label is none of the classes.
    """
    index = {name: position for position, name in enumerate(classes)}
    try:
        return np.array([index[str(label)] for label in labels], np.intp)
    except KeyError as error:
        raise RequestError(
            f"the label {error} is none of the classes {list(classes)}",
            remedy="give the labels of these rows",
        ) from None


def _write(
    directory: Path,
    draft: _Draft,
    columns: FeatureColumns,
    outputs: Outputs,
    *,
    labels: Labels | None,
    model: bytes | None,
    reference: FeatureColumns | None = None,
) -> Bundle:
    if labels is not None and len(labels) != len(columns):
        raise RequestError(f"{len(labels)} labels for {len(columns)} rows", remedy="give one label per row")
    signature = columns.signature
    truth = None if labels is None or not signature.classes else class_indexes(signature.classes, labels)
    profile = build_profile(columns, outputs, truth)
    if reference is not None:
        profile = replace(profile, rows=len(reference), cells=build_profile(reference).cells)
    manifest = Manifest(
        name=draft.origin.name,
        runtime=draft.runtime,
        function=draft.function,
        signature=SignatureDocument.of(signature),
        profile=profile.id,
        metrics=tuple(baseline_metrics(outputs, labels, truth)),
        environment=_environment(draft.packages),
        training=draft.origin.training,
        created_at=draft.origin.created_at,
    )
    sample = columns.take(slice(0, SAMPLE_ROWS))
    return write_bundle(directory, manifest, profile, model=model, sample=sample)


def baseline_metrics(
    outputs: Outputs, labels: Labels | None, truth: NDArray[np.intp] | None
) -> Iterator[BaselineMetric]:
    """How good answers are; nothing without labels.

    Args:
        outputs: Answers for at least one row.
        labels: The true classes or values of the same rows.
        truth: The true classes as indexes; None for a regression.
    """
    estimates: tuple[Estimate, ...] = ()
    if truth is not None:
        estimates = measure_classes(outputs, truth)
    elif labels is not None:
        estimates = measure_values(outputs, np.asarray(labels, np.float64))
    for each in estimates:
        yield BaselineMetric(name=each.name, value=each.value, lower=each.lower, upper=each.upper, rows=len(outputs))


def _environment(packages: Sequence[str]) -> Environment:
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a converter that came inside another package
            continue
    return Environment(python=".".join(map(str, sys.version_info[:3])), platform=platform.platform(), packages=versions)
