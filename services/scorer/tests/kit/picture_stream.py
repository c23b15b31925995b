"""A stream of pictures, which records and requests name instead of carrying them."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scorer_stream import Stream

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs
from millrace.core.profiling import build_profile
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.serving.bundle import write_bundle
from millrace.serving.manifest import Environment, Manifest, SignatureDocument
from millrace.serving.shelf import Shelf
from millrace.testing.models import MADE_AT, make_model

FORTY_MEGAPIXELS = (5_000, 8_000)


def picture_bundle(directory: Path, name: str, shape: tuple[int, int]) -> Path:
    """A model that answers the mean of a picture and of nothing else."""
    signature = Signature(
        (Feature("picture", shape=shape),), (ModelInput("picture", ("picture",)),), Task.REGRESSION, "mean"
    )
    model = make_model(
        [helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2], keepdims=0)],
        inputs=[helper.make_tensor_value_info("picture", TensorProto.FLOAT, [None, *shape])],
        outputs=[helper.make_tensor_value_info("mean", TensorProto.FLOAT, [None])],
        opset_imports=[helper.make_opsetid("", 17)],
    )
    reference = FeatureColumns(signature, (np.zeros((1, *shape), np.float32),))
    profile = build_profile(reference, Outputs(np.zeros(1, np.float32), None))
    manifest = Manifest(
        name=name,
        signature=SignatureDocument.of(signature),
        profile=profile.id,
        environment=Environment(python="3.11.0", platform="test"),
        created_at=MADE_AT,
    )
    return write_bundle(directory, manifest, profile, model=model.SerializeToString(), sample=None).directory


def put(settings: Settings, array: NDArray[Any] | bytes) -> str:
    """Store an array as a `.npy` file; its reference."""
    content = BytesIO()
    content.write(array) if isinstance(array, bytes) else np.save(content, array)
    digest = f"sha256:{hashlib.sha256(content.getvalue()).hexdigest()}"
    content.seek(0)
    Shelf.of(settings).blobs.put(content, digest=digest)
    return f"blob:{digest}"


class MakePictures(Protocol):
    """The fixture `pictures`: a stream whose model answers the mean of a picture."""

    def __call__(self, shape: tuple[int, int] = (3, 4)) -> Stream:
        """A stream of pictures of this shape."""


def by_reference(stream: Stream, *, max_records: int = 10, **source: object) -> Deployment:
    batch = {"max_records": max_records, "transaction_records": max_records}
    return stream.deployment(source={"references": ["picture"], **source}, batch=batch)
