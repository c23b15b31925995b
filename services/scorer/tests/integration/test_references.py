"""Records that name tensors instead of carrying them, scored by a real scorer."""

import hashlib
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import fsspec
import numpy as np
import orjson
import pytest
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scorer_stream import Stream

from millrace.client.explaining import Verdict, explain
from millrace.core.columns import FeatureColumns
from millrace.core.errors import Reason, RequestError
from millrace.core.outputs import Outputs
from millrace.core.profile import build_profile
from millrace.core.records import Coordinates
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.kafka.reading import find
from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.serving.bundle import write_bundle
from millrace.serving.manifest import Environment, Manifest, SignatureDocument
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import MADE_AT, make_model
from millrace.testing.waiting import eventually

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


@pytest.fixture
def pictures(broker: Broker, settings: Settings, tmp_path: Path) -> MakePictures:
    def make(shape: tuple[int, int] = (3, 4)) -> Stream:
        stream = Stream(broker, settings, f"s-{uuid.uuid4().hex[:10]}")
        with stream.registry() as registry:
            registry.push(picture_bundle(tmp_path / stream.name, stream.model, shape))
        return stream

    return make


def by_reference(stream: Stream, *, max_records: int = 10, **source: object) -> Deployment:
    batch = {"max_records": max_records, "transaction_records": max_records}
    return stream.deployment(source={"references": ["picture"], **source}, batch=batch)


def records(*references: str) -> list[bytes]:
    return [orjson.dumps({"picture": reference}) for reference in references]


def test_a_picture_of_forty_megapixels_goes_through_a_topic(pictures: MakePictures, settings: Settings) -> None:
    stream = pictures(FORTY_MEGAPIXELS)
    picture = np.random.default_rng(7).integers(0, 256, FORTY_MEGAPIXELS, np.uint8)
    stream.send(records(put(settings, picture)))
    with stream.running(by_reference(stream, max_records=1)):
        stream.wait_for(1)
    (prediction,) = stream.predictions()
    assert prediction["outputs"]["value"] == pytest.approx(picture.mean(), rel=1e-4)
    assert len(stream.records(stream.source).values[0] or b"") < 200


def test_what_cannot_be_fetched_is_a_dead_letter_and_its_neighbours_are_scored(
    pictures: MakePictures, settings: Settings
) -> None:
    stream = pictures()
    good, flat = np.arange(12, dtype=np.float64).reshape(3, 4), np.full(12, 2, np.int8)
    damaged = put(settings, np.ones((3, 4)))
    name = damaged.rpartition(":")[2]
    (settings.home / "blobs" / "sha256" / name[:2] / name).write_bytes(b"something else")
    cases = {
        put(settings, good): None,
        "blob:sha256:" + "0" * 64: Reason.MISSING_BLOB,
        damaged: Reason.INVALID_BLOB,
        put(settings, b"no npy file"): Reason.INVALID_BLOB,
        put(settings, np.ones((4, 3))): Reason.WRONG_SHAPE,
        put(settings, np.ones((3, 4), np.bool_)): Reason.WRONG_TYPE,
        put(settings, np.full((3, 4), np.nan)): Reason.NOT_FINITE,
        put(settings, np.ones(100_000)): Reason.INVALID_BLOB,
        "sha256:" + "0" * 64: Reason.WRONG_TYPE,
        "blob:../../etc/passwd": Reason.INVALID_BLOB,
        put(settings, flat): None,
    }
    stream.send([*records(*cases), b'{"picture": [1, 2]}'])
    with stream.running(by_reference(stream, max_records=20)):
        stream.wait_for(2)
        stream.wait_for(10, f"{stream.name}.dlq")
    assert [each["outputs"]["value"] for each in stream.predictions()] == [5.5, 2.0]
    reasons = [letter.reason for letter in stream.dead_letters()]
    assert reasons == [*filter(None, cases.values()), Reason.WRONG_TYPE]


class Flaky(LocalFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """Files that cannot be reached for a while."""

    protocol = ("flaky",)
    away = False
    asked = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("flaky://")))

    def exists(self, path: str, **kwargs: object) -> bool:
        if Flaky.away:
            Flaky.asked += 1
            raise ConnectionError("the store is away")
        return bool(super().exists(path, **kwargs))


@pytest.fixture
def flaky(settings: Settings) -> Iterator[Settings]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    yield settings.model_copy(update={"blobs": f"flaky://{settings.home}/blobs"})
    Flaky.away, Flaky.asked = False, 0


def test_a_store_that_is_away_is_waited_for(broker: Broker, flaky: Settings, tmp_path: Path) -> None:
    stream = Stream(broker, flaky, f"s-{uuid.uuid4().hex[:10]}")
    with stream.registry() as registry:
        registry.push(picture_bundle(tmp_path / "bundle", stream.model, (3, 4)))
    first, second = put(flaky, np.ones((3, 4))), put(flaky, np.zeros((3, 4)))
    with stream.running(by_reference(stream)):
        stream.send(records(first))
        stream.wait_for(1)
        Flaky.away = True
        stream.send(records(second))
        eventually(lambda: Flaky.asked >= 2, what="a second attempt")
        Flaky.away = False
        stream.wait_for(2)
    assert not stream.records(f"{stream.name}.dlq")


def test_a_prediction_by_reference_can_be_repeated(pictures: MakePictures, settings: Settings) -> None:
    stream = pictures()
    stream.send(records(put(settings, np.ones((3, 4)))))
    deployment = by_reference(stream)
    with stream.running(deployment):
        stream.wait_for(1)
    record = find(stream.broker.kafka, Coordinates(stream.source, 0, 0))
    assert explain(stream.broker.kafka, Shelf.of(settings), record, deployment).verdict is Verdict.EQUAL


def test_batches_that_could_not_be_held_are_refused_at_the_start(pictures: MakePictures) -> None:
    stream = pictures()
    refused = stream.refuses(by_reference(stream, max_records=100, references_bytes=1_000))
    assert isinstance(refused, RequestError)
    assert "batch.max_records to 20" in refused.remedy
