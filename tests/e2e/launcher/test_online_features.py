"""Online features on a node that has nothing but Kafka: the store, its tables and the answers come by themselves."""

import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from fleet_stage import PATIENCE, Stage, stage
from gateway_stage import free_port

from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.store.local_redis import LocalRedis
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

DOCUMENT = {
    "deployment": "rain",
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "slo": {"latency_ms": 1000},
    "enrich": [{"table": "stations.features", "features": ["c"]}],
    "scale": {"scorers": 1, "gateways": 1, "materializers": 1, "cores": 0.25},
}


@pytest.fixture
def fleet(own_broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage with topics, a model and a station's features, and no node yet."""
    admin = Admin(own_broker.kafka)
    admin.ensure_topics(
        [TopicSpec("rain.features", 1), TopicSpec("stations.features", 1, {"cleanup.policy": "compact"})]
    )
    home = tmp_path / "home"
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
    monkeypatch.setenv("MILLRACE_GATEWAY__REST__PORT", str(free_port()))
    monkeypatch.setenv("MILLRACE_GATEWAY__GRPC__PORT", str(free_port()))
    with stage(own_broker, home) as made:
        try:
            yield made
        finally:
            LocalRedis(home).kill()


def send(broker: LocalBroker, topic: str, key: bytes, value: dict[str, float]) -> None:
    now = np.array([time.time_ns() // 1_000_000])
    with Writer(broker.kafka) as writer:
        writer.write(OutputBatch(topic, np.zeros(1, np.int32), now, [key], [json.dumps(value).encode()]))


def test_the_launcher_brings_the_store_and_the_tables_and_the_newest_prediction_is_there(
    own_broker: LocalBroker, fleet: Stage
) -> None:
    send(own_broker, "stations.features", b"oslo", {"c": 0.5})
    send(own_broker, "rain.features", b"oslo", {"a": 1, "b": 2})
    fleet.start("a")
    with fleet.control() as control:
        control.put("rain", DOCUMENT)
    fleet.await_ready("rain", 4)
    tensor = {"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [3, 4]}
    with httpx.Client(base_url=gateway_url(), timeout=30) as client:

        def ask() -> httpx.Response:
            body = {"inputs": [tensor], "parameters": {"key": "oslo"}}
            return client.post("/v2/models/rain/infer", json=body)

        def newest() -> dict[str, object]:
            found: dict[str, object] = client.get("/v1/deployments/rain/entities/oslo").json()
            return found

        eventually(lambda: newest().get("enriched") == {"c": 0.5}, within=PATIENCE, what="the newest prediction")
        assert newest()["source"] == {"topic": "rain.features", "partition": 0, "offset": 0}
        answer = ask()
        assert answer.status_code == 200, answer.text
        asked = answer.json()["id"]
        eventually(lambda: newest().get("event_id") == asked, within=PATIENCE, what="the online one")

        LocalRedis(fleet.home).kill()  # with all that it holds since its latest save
        send(own_broker, "stations.features", b"oslo", {"c": 0.75})
        eventually(lambda: ask().status_code == 200, within=PATIENCE, what="answers again")
        eventually(
            lambda: ask().is_success and newest().get("enriched") == {"c": 0.75},
            within=timedelta(seconds=120),
            what="the new value",
        )


def gateway_url() -> str:
    """Where the launched gateway listens: its settings come from this environment."""
    return f"http://127.0.0.1:{os.environ['MILLRACE_GATEWAY__REST__PORT']}"
