"""Small ONNX models and their bundles, made without any training framework."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs
from millrace.core.profiling import build_profile
from millrace.core.signature import Feature, ModelInput, NotFinite, Signature, Task
from millrace.serving.bundle import Bundle, write_bundle
from millrace.serving.manifest import Environment, Manifest, SignatureDocument
from millrace.serving.onnx import OnnxRuntime

MADE_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When every model of the kit was made, so that equal models have equal digests."""

INPUT: Final = "features"
SCORES: Final = "scores"


def linear_signature(
    features: Sequence[str] = ("a", "b", "c"), *, not_finite: NotFinite = NotFinite.REJECT
) -> Signature:
    """The signature of `linear_model`: float32 features in one input, classes `no` and `yes`."""
    return Signature(
        features=tuple(map(Feature, features)),
        inputs=(ModelInput(INPUT, tuple(features)),),
        task=Task.BINARY,
        score_output=SCORES,
        classes=("no", "yes"),
        not_finite=not_finite,
    )


def linear_model(weights: NDArray[np.float32]) -> onnx.ModelProto:
    """A logistic regression: the score of the second class is the logistic function of the weighted sum."""
    count = len(weights)
    nodes = [
        helper.make_node("MatMul", [INPUT, "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], [SCORES]),
    ]
    return make_model(
        nodes,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, count])],
        outputs=[helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [None, 1])],
        weights=[numpy_helper.from_array(weights.reshape(count, 1).astype(np.float32), "weights")],
    )


def make_model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    **parts: Any,  # noqa: ANN401 - whatever else onnx.helper.make_model takes
) -> onnx.ModelProto:
    """A model of one graph, in an operator set that every supported ONNX Runtime has."""
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(weights))
    opsets = parts.pop("opset_imports", [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **parts)


def linear_bundle(
    directory: Path,
    *,
    name: str = "linear",
    features: Sequence[str] = ("a", "b", "c"),
    weights: Sequence[float] | None = None,
    rows: int = 200,
    not_finite: NotFinite = NotFinite.REJECT,
) -> Bundle:
    """Write a bundle of a `linear_model` with a reference of `rows` rows, always the same for the same arguments."""
    signature = linear_signature(features, not_finite=not_finite)
    random = np.random.default_rng(seed=len(features))
    columns = FeatureColumns(signature, (random.normal(size=(rows, len(features))).astype(np.float32),))
    factors = np.linspace(-1, 1, len(features)) if weights is None else np.asarray(weights)
    model = linear_model(factors.astype(np.float32)).SerializeToString()
    return bundle_of(directory, model, columns, name=name, outputs=OnnxRuntime(model, signature).infer(columns))


def bundle_of(
    directory: Path, model: bytes, reference: FeatureColumns, *, name: str = "test", outputs: Outputs | None = None
) -> Bundle:
    """Write a bundle of any bytes as the model, fit to be admitted or not."""
    profile = build_profile(reference, outputs)
    manifest = Manifest(
        name=name,
        signature=SignatureDocument.of(reference.signature),
        profile=profile.id,
        environment=Environment(python="3.11.0", platform="test"),
        created_at=MADE_AT,
    )
    return write_bundle(directory, manifest, profile, model=model, sample=reference.take(slice(0, 64)))
