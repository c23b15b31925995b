"""Records that name tensors instead of carrying them, scored by a real scorer."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import orjson
import pytest
from fsspec.implementations.local import LocalFileSystem
from picture_stream import FORTY_MEGAPIXELS, MakePictures, by_reference, picture_bundle, put
from scorer_stream import Stream

from millrace.client.explaining import Verdict, explain
from millrace.core.errors import Reason, RequestError
from millrace.core.records import Coordinates
from millrace.kafka.reading import find
from millrace.process.settings import Settings
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually


@pytest.fixture
def pictures(broker: Broker, settings: Settings, tmp_path: Path) -> MakePictures:
    def make(shape: tuple[int, int] = (3, 4)) -> Stream:
        stream = Stream(broker, settings, f"s-{uuid.uuid4().hex[:10]}")
        with stream.registry() as registry:
            registry.push(picture_bundle(tmp_path / stream.name, stream.model, shape))
        return stream

    return make


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
