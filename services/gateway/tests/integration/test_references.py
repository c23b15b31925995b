"""Requests that name tensors instead of carrying them."""

import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest
from gateway_stage import GatewayStage
from picture_stream import FORTY_MEGAPIXELS, MakePictures, by_reference, picture_bundle, put
from scorer_stream import Stream

from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def pictures(broker: Broker, settings: Settings, tmp_path: Path) -> MakePictures:
    def make(shape: tuple[int, int] = (3, 4)) -> Stream:
        stream = Stream(broker, settings, f"g-{uuid.uuid4().hex[:10]}")
        with stream.registry() as registry:
            registry.push(picture_bundle(tmp_path / stream.name, stream.model, shape))
        return stream

    return make


def ask(client: httpx.Client, s: Stream, *references: str) -> httpx.Response:
    tensor = {"name": "picture", "shape": [len(references), 1], "datatype": "BYTES", "data": list(references)}
    return client.post(f"/v2/models/{s.name}/infer", json={"inputs": [tensor], "id": "online"})


def test_s77_a_picture_of_forty_megapixels_is_scored_by_its_name_alike_by_request_and_by_record(
    stage: GatewayStage, pictures: MakePictures, settings: Settings
) -> None:
    s = pictures(FORTY_MEGAPIXELS)
    reference = put(settings, np.random.default_rng(7).integers(0, 256, FORTY_MEGAPIXELS, np.uint8))
    with stage.running(by_reference(s, max_records=1)) as client:
        answer = ask(client, s, reference)
        assert answer.status_code == 200, answer.text
        too_many = ask(client, s, reference, reference)
        assert (too_many.status_code, too_many.json()["code"]) == (413, "too_large")
    requests = s.records(f"{s.name}.requests")
    assert len(requests.values[0] or b"") < 200
    mirror = Stream(s.broker, s.settings, f"{s.name}-mirror")
    mirror.model = s.model
    mirror.send(requests.values, headers=requests.headers)
    with mirror.running(by_reference(mirror, max_records=1)):
        mirror.wait_for(1)
    [online], [offline] = s.predictions(), mirror.predictions()
    assert (online["event_id"], online["outputs"]) == (offline["event_id"], offline["outputs"])
    assert answer.json()["outputs"][0]["data"] == [online["outputs"]["value"]]


def test_what_cannot_be_fetched_is_refused_with_its_reason(
    stage: GatewayStage, pictures: MakePictures, settings: Settings
) -> None:
    s = pictures()
    good = put(settings, np.ones((3, 4), np.float32))
    refusals = {
        "blob:sha256:" + "0" * 64: "there is no blob",
        "a picture": "is no reference",
        put(settings, np.ones((2, 2), np.float32)): "is a blob of shape",
    }
    with stage.running(by_reference(s)) as client:
        for reference, words in refusals.items():
            answer = ask(client, s, good, reference)
            assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
        assert ask(client, s, good, good).status_code == 200
