"""The newest prediction of an entity, from a real online store."""

from collections.abc import Mapping
from contextlib import closing

import orjson
import pytest
from gateway_stage import GatewayStage
from prediction_topic import prediction

from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis
from millrace.store.online_table import OnlineTable, Upsert
from millrace.testing.broker import Broker
from millrace.testing.records import record_batch
from millrace.testing.redis import temporary_redis


@pytest.fixture
def connected(broker: Broker, settings: Settings, own_redis: LocalRedis) -> GatewayStage:
    return GatewayStage(broker, settings.model_copy(update={"redis": own_redis.settings}))


def keep(redis: LocalRedis, values: Mapping[bytes, bytes], *, end: int) -> None:
    """Do what a materializer of `rain.predictions` does."""
    records = record_batch(list(values.values()), topic="rain.predictions", keys=list(values))
    with closing(OnlineTable(redis.settings, "rain.predictions", topic_id="one")) as table:
        table.open({0: (0, end)}, partitions=1)
        table.apply([Upsert(0, 0, len(records), records)])


def test_the_newest_prediction_of_an_entity_is_as_a_subscriber_gets_it(
    connected: GatewayStage, own_redis: LocalRedis
) -> None:
    keys = [b"oslo", "Ålesund/Vigra ?".encode()]
    keep(own_redis, {key: orjson.dumps(prediction(number)) for number, key in enumerate(keys)}, end=2)
    with connected.running() as client:
        answer = client.get("/v1/deployments/rain/entities/oslo")
        assert answer.status_code == 200
        assert answer.json() == {**prediction(0), "key": "oslo", "at": "rain.predictions-0-0"}
        other = client.get("/v1/deployments/rain/entities/%C3%85lesund%2FVigra%20%3F").json()
        assert (other["event_id"], other["key"]) == ("1", "Ålesund/Vigra ?")


def test_an_entity_without_a_prediction_is_not_found(connected: GatewayStage, own_redis: LocalRedis) -> None:
    keep(own_redis, {b"oslo": orjson.dumps(prediction(0))}, end=1)
    with connected.running() as client:
        answer = client.get("/v1/deployments/rain/entities/rome")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert client.get("/v1/deployments/RAIN/entities/oslo").status_code == 400


def test_before_all_is_read_what_is_there_is_answered_and_what_is_not_is_said_to_be_unknown(
    connected: GatewayStage, own_redis: LocalRedis
) -> None:
    keep(own_redis, {b"oslo": orjson.dumps(prediction(0))}, end=9)
    with connected.running() as client:
        assert client.get("/v1/deployments/rain/entities/oslo").status_code == 200
        answer = client.get("/v1/deployments/rain/entities/rome")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "still being filled" in answer.json()["error"]
        absent = client.get("/v1/deployments/snow/entities/oslo")
        assert (absent.status_code, absent.json()["remedy"]) == (
            503,
            "run millrace-materializer --topic snow.predictions",
        )


def test_a_store_that_refuses_the_gateway_is_not_the_clients_fault(broker: Broker, settings: Settings) -> None:
    with temporary_redis({"requirepass": "open-sesame"}) as guarded:
        stage = GatewayStage(broker, settings.model_copy(update={"redis": guarded.settings}))
        with stage.running() as client:
            answer = client.get("/v1/deployments/rain/entities/oslo")
        assert (answer.status_code, "MILLRACE_REDIS__PASSWORD" in answer.json()["remedy"]) == (503, True)


def test_an_online_store_that_is_absent_is_said_there_and_found_once_it_is_started(stage: GatewayStage) -> None:
    local = LocalRedis(stage.settings.home, {"save": ""})
    try:
        with stage.running() as client:
            answer = client.get("/v1/deployments/rain/entities/oslo")
            assert (answer.status_code, "millrace up --redis" in answer.json()["remedy"]) == (503, True)
            assert client.get("/v2/health/ready").status_code == 200
            local.start()
            keep(local, {b"oslo": orjson.dumps(prediction(0))}, end=1)
            assert client.get("/v1/deployments/rain/entities/oslo").status_code == 200
            local.kill()
            assert client.get("/v1/deployments/rain/entities/oslo").status_code == 503
            assert client.get("/v2/health/ready").status_code == 200
    finally:
        local.kill()
