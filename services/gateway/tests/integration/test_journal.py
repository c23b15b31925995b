"""What is asked and answered online is in the log like everything else."""

from collections.abc import Sequence

import httpx
import numpy as np
import pytest
from gateway_stage import GatewayStage, is_ready
from scorer_stream import MakeStream, Stream

from millrace.codec.reading import read_prediction
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

ROWS = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)


def ask(client: httpx.Client, s: Stream, rows: Sequence[Sequence[float]], **more: object) -> httpx.Response:
    tensor = {"name": "features", "shape": [len(rows), 3], "datatype": "FP32", "data": rows}
    return client.post(f"/v2/models/{s.name}/infer", json={"inputs": [tensor], **more})


@pytest.mark.parametrize("log", ["required", "best_effort"])
def test_answers_equal_the_scorers_to_the_last_bit(stage: GatewayStage, stream: MakeStream, log: str) -> None:
    s = stream(partitions=3)
    with stage.running(s.deployment(online={"log": log})) as client:
        for start in range(0, len(ROWS), 50):
            answer = ask(client, s, ROWS[start : start + 50].tolist(), id=f"r{start}", parameters={"key": "k"})
            assert answer.status_code == 200, answer.text
    # The gateway wrote what it held before it stopped. The same requests through a scorer:
    requests = s.records(f"{s.name}.requests")
    online = [read_prediction(value) for value in s.records(f"{s.name}.predictions").values]
    assert len(requests) == len(online) == len(ROWS)
    mirror = Stream(s.broker, s.settings, f"{s.name}-mirror")
    mirror.model = s.model
    mirror.send(requests.values, headers=requests.headers)
    with mirror.running():
        mirror.wait_for(len(ROWS))
    assert answers_of(mirror.predictions()) == answers_of(online)


def answers_of(predictions: Sequence[object]) -> dict[str, object]:
    fields = ("outputs", "bins", "model", "version", "digest")
    return {each["event_id"]: [each[name] for name in fields] for each in predictions}  # type: ignore[index]


def test_a_prediction_names_its_request_and_lies_beside_it(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream(partitions=3)
    with stage.running(s.deployment(online={"log": "required"})) as client:
        named = ask(client, s, [[1, 2, 3], [4, 5, 6]], id="mine", parameters={"key": "customer-1"}).json()
        unnamed = ask(client, s, [[1, 2, 3]]).json()
        # Required: what was answered is there already.
        requests = s.records(f"{s.name}.requests")
        records = s.records(f"{s.name}.predictions")
    assert named["id"] == "mine"
    assert unnamed["id"]
    predictions = {each["event_id"]: (each, row) for row, each in enumerate(map(read_prediction, records.values))}
    assert predictions.keys() == {"mine", "mine.1", unnamed["id"]}
    at = {(int(p), int(o)): row for row, (p, o) in enumerate(zip(requests.partitions, requests.offsets, strict=True))}
    for event_id, (prediction, row) in predictions.items():
        source = prediction["source"]
        asked = at[source["partition"], source["offset"]]
        assert source["topic"] == requests.topic
        assert dict(requests.headers[asked] or ())["id"] == event_id.encode()
        assert int(records.partitions[row]) == source["partition"]
        assert records.keys[row] == requests.keys[asked]
        assert int(records.timestamps_ms[row]) == int(requests.timestamps_ms[asked])
    assert {key for key in requests.keys if key is not None} == {b"customer-1", unnamed["id"].encode()}


def test_without_a_broker_required_refuses_and_best_effort_answers(own_broker: Broker, settings: Settings) -> None:
    stage = GatewayStage(own_broker, settings)
    streams = [Stream(own_broker, settings, name) for name in ("strict", "lax")]
    for s in streams:
        s.push(settings.home / f"bundle-{s.name}")
    strict, lax = streams
    deployments = (strict.deployment(online={"log": "required"}), lax.deployment())
    with stage.running(*deployments) as client:
        assert ask(client, strict, [[1, 2, 3]]).status_code == 200
        own_broker.kill()
        eventually(lambda: not is_ready(client), what="the gateway to say that it is not ready")
        refused = ask(client, strict, [[1, 2, 3]])
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert ask(client, lax, [[1, 2, 3]], id="while-away").status_code == 200
        own_broker.start()
        eventually(lambda: is_ready(client), what="the gateway's recovery")
        assert ask(client, strict, [[1, 2, 3]]).status_code == 200
        eventually(lambda: len(lax.records("lax.predictions")) == 1, what="what was asked meanwhile, in the log")
