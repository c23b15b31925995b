"""Online requests whose features lie in a real online store: fetched by key, missing, lost with everything."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from gateway_stage import GatewayStage
from online_stations import enriched, table_of, write_table
from scorer_stream import MakeStream, Stream

from millrace.client.explaining import Verdict, explain
from millrace.codec.reading import read_prediction
from millrace.process.deployment import Deployment
from millrace.serving.shelf import Shelf
from millrace.store.local_redis import LocalRedis
from millrace.testing.waiting import eventually

OSLO, ROME = b'{"c": 0.1, "more": 1}', b'{"c": -4}'


def ask(
    client: httpx.Client, s: Stream, *rows: tuple[float, float], key: str | None = None, **more: object
) -> httpx.Response:
    tensor = {"name": "features", "shape": [len(rows), 2], "datatype": "FP32", "data": [*map(list, rows)]}
    parameters = {} if key is None else {"key": key}
    inputs = [tensor, *([more.pop("also")] if "also" in more else [])]
    return client.post(f"/v2/models/{s.name}/infer", json={"inputs": inputs, "parameters": parameters, **more})


def staged(stage: GatewayStage, s: Stream) -> GatewayStage:
    """The stage with the online store of the stream's settings."""
    return replace(stage, settings=s.settings)


def required(deployment: Deployment) -> Deployment:
    """An answer that comes when it is written."""
    return deployment.model_copy(update={"online": deployment.online.model_copy(update={"log": "required"})})


def test_what_is_fetched_for_a_request_is_what_is_fetched_for_a_record(
    stage: GatewayStage, stream: MakeStream, redis: LocalRedis
) -> None:
    s, deployment = enriched(stream(), redis.settings)
    place = write_table(s, redis.settings, {b"oslo": OSLO, b"rome": ROME})
    with staged(stage, s).running(required(deployment)) as client:
        assert client.get(f"/v2/models/{s.name}").json()["inputs"][0]["shape"] == [-1, 2]
        assert ask(client, s, (1, 0.5), (2, 0.25), key="oslo", id="o").status_code == 200
        assert ask(client, s, (3, 0.5), key="rome", id="r").status_code == 200
    online = {each["event_id"]: each for each in s.predictions()}
    assert [online[name]["enriched"] for name in ("o", "o.1", "r")] == [{"c": 0.1}, {"c": 0.1}, {"c": -4.0}]

    requests = s.records(f"{s.name}.requests")
    mirror = Stream(s.broker, s.settings, f"{s.name}-mirror")
    mirror.model = s.model
    mirror.send(requests.values, keys=requests.keys, headers=requests.headers)
    with mirror.running(mirror.deployment(enrich=[{"table": table_of(s), "features": ["c"]}])):
        mirror.wait_for(3)
    for each in mirror.predictions():
        assert all(each[part] == online[each["event_id"]][part] for part in ("outputs", "bins", "enriched", "version"))

    write_table(s, redis.settings, {b"oslo": b'{"c": 99}'}, at=place)
    explanation = explain(s.broker.kafka, Shelf.of(s.settings), requests.take(slice(0, 1)), deployment)
    assert (explanation.verdict, explanation.remark) == (Verdict.EQUAL, "")


def test_an_entity_without_a_value_is_refused_or_has_the_default(
    stage: GatewayStage, stream: MakeStream, redis: LocalRedis
) -> None:
    strict, first = enriched(stream(), redis.settings)
    lax, second = enriched(stream(), redis.settings, defaults={"c": 7})
    for s in (strict, lax):
        write_table(s, redis.settings, {b"oslo": OSLO})
    with staged(stage, strict).running(first, required(second)) as client:
        for key in ("nowhere", None):
            refused = ask(client, strict, (1, 0.5), key=key)
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
            assert "'c' has no default" in refused.json()["error"]
        assert ask(client, strict, (1, 0.5), key="oslo").status_code == 200
        assert ask(client, lax, (1, 0.5), key="nowhere").status_code == 200
    assert [each["enriched"] for each in lax.predictions()] == [{"c": 7.0}]


def test_a_field_of_the_request_may_be_the_key(stage: GatewayStage, stream: MakeStream, redis: LocalRedis) -> None:
    s, deployment = enriched(stream(), redis.settings, key_field="station")
    write_table(s, redis.settings, {b"oslo": OSLO, b"rome": ROME})
    stations = {"name": "key station", "shape": [2, 1], "datatype": "BYTES", "data": ["rome", "oslo"]}
    with staged(stage, s).running(required(deployment)) as client:
        answer = ask(client, s, (1, 0.5), (2, 0.25), also=stations)
        assert answer.status_code == 200, answer.text
    assert [each["enriched"] for each in s.predictions()] == [{"c": -4.0}, {"c": 0.1}]


def test_a_lost_store_is_the_trouble_of_those_who_need_it_and_passes(
    stage: GatewayStage, stream: MakeStream, own_redis: LocalRedis
) -> None:
    s, deployment = enriched(stream(), own_redis.settings)
    other = stream()
    features = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}

    def other_answers() -> bool:
        return client.post(f"/v2/models/{other.name}/infer", json={"inputs": [features]}).status_code == 200

    write_table(s, own_redis.settings, {b"oslo": OSLO})
    with staged(stage, s).running(deployment, other.deployment()) as client:
        assert ask(client, s, (1, 0.5), key="oslo").status_code == 200
        own_redis.kill()
        away = ask(client, s, (1, 0.5), key="oslo")
        assert (away.status_code, away.headers["retry-after"], away.json()["code"]) == (503, "1", "unavailable")
        assert "cannot be reached" in away.json()["error"]
        assert other_answers()
        own_redis.start()
        empty = ask(client, s, (1, 0.5), key="oslo")
        assert (empty.status_code, "has no table" in empty.json()["error"]) == (503, True)
        write_table(s, own_redis.settings, {b"oslo": ROME})
        eventually(lambda: ask(client, s, (1, 0.5), key="oslo").status_code == 200, what="answers")
        assert other_answers()
    newest = read_prediction(s.records(f"{s.name}.predictions").values[-1])
    assert newest["enriched"] == {"c": -4.0}


def test_a_store_that_is_started_after_the_gateway_is_found(
    stage: GatewayStage, stream: MakeStream, settings_home_redis: LocalRedis
) -> None:
    s = stream()
    deployment = s.deployment(enrich=[{"table": table_of(s), "features": ["c"]}])
    with stage.running(deployment) as client:
        nowhere = ask(client, s, (1, 0.5), key="oslo")
        assert (nowhere.status_code, "none is named and no local one runs" in nowhere.json()["error"]) == (503, True)
        settings_home_redis.start()
        write_table(s, settings_home_redis.settings, {b"oslo": OSLO})
        assert ask(client, s, (1, 0.5), key="oslo").status_code == 200


@pytest.fixture
def settings_home_redis(stage: GatewayStage) -> Iterator[LocalRedis]:
    """A store that the gateway finds under its own home, once it is started."""
    redis = LocalRedis(stage.settings.home, {"save": ""})
    yield redis
    redis.kill()
