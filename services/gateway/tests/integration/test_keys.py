"""A gateway that asks for keys, at each of its doors; and how soon one that is revoked opens nothing."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import httpx
import pytest
import websockets.sync.client as ws
from gateway_stage import GatewayStage
from scorer_stream import MakeStream
from websockets.exceptions import InvalidStatus

from millrace.core.control.keys import ApiKey, Role, digest_of, key_text
from millrace.kafka.control_writer import KEYS_TOPIC, Change, ControlWriter, Put
from millrace.process.keys import KEYS
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

Status = grpc.StatusCode
METHOD = "/inference.GRPCInferenceService/"


@contextmanager
def written_key(broker: Broker, role: Role) -> Iterator[tuple[ApiKey, str]]:
    """A key on the log, and its text; revoked at the end."""
    text = key_text(f"gateway-{uuid.uuid4().hex[:8]}", secrets.token_urlsafe(32))
    name = text.split("_")[1]
    key = ApiKey(name, role, digest_of(text), 0, "test")
    write(broker, key)
    try:
        yield key, text
    finally:
        write(broker, replace(key, revoked_ms=1))


def write(broker: Broker, key: ApiKey) -> None:
    change = Change([Put(KEYS_TOPIC, key.name, KEYS.write(key))], "")
    with ControlWriter(broker.kafka, who="test", topics=(KEYS_TOPIC,)) as writer:
        writer.apply(f"key/{key.name}", "write key", lambda _: change)


def call(stage: GatewayStage, method: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """How a call with an empty message ends."""
    with grpc.insecure_channel(stage.target) as channel:
        asked: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD + method)
        return asked.future(b"", timeout=10, metadata=metadata).code()


@pytest.fixture
def keyed(stage: GatewayStage, stream: MakeStream) -> Iterator[tuple[GatewayStage, str]]:
    """A gateway that asks for keys, and its deployment."""
    s = stream()
    with stage.running(s.deployment(), options=stage.options(keys="required")):
        yield stage, s.name


def test_every_door_asks_for_a_key_and_its_role(keyed: tuple[GatewayStage, str], broker: Broker) -> None:
    stage, name = keyed
    ask = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
    with written_key(broker, Role.VIEWER) as (_, viewer), written_key(broker, Role.OPERATOR) as (_, operator):
        with httpx.Client(base_url=stage.url) as client:
            shown = {"authorization": f"Bearer {viewer}"}
            eventually(lambda: client.get("/v2", headers=shown).status_code == 200, what="the viewer's key")
            eventually(lambda: client.get("/v2", headers={"x-api-key": operator}).status_code == 200, what="the other")

            assert client.get("/v2/health/ready").status_code == 200, "orchestrators have no keys"
            refused = client.get("/v2")
            assert (refused.status_code, refused.json()["code"]) == (401, "unknown_caller")
            assert client.get("/v2", headers={"x-api-key": viewer[:-1] + "!"}).status_code == 401
            assert client.post(f"/v2/models/{name}/infer", json=ask).status_code == 401
            assert client.post(f"/v2/models/{name}/infer", json=ask, headers=shown).status_code not in {401, 403}
            sent = client.post("/v1/streams/x/events", json={}, headers=shown)
            assert (sent.status_code, sent.json()["code"]) == (403, "forbidden")
            assert viewer not in sent.text

        assert call(stage, "ServerLive") is Status.UNAUTHENTICATED
        assert call(stage, "ServerLive", ("authorization", f"Bearer {viewer}")) is Status.OK
        assert call(stage, "RepositoryModelLoad", ("x-api-key", viewer)) is Status.PERMISSION_DENIED
        assert call(stage, "RepositoryModelLoad", ("x-api-key", operator)) is not Status.PERMISSION_DENIED

        url = f"ws://127.0.0.1:{stage.rest_port}/v1/deployments/{name}/predictions"
        with pytest.raises(InvalidStatus) as stranger:
            ws.connect(url)
        assert stranger.value.response.status_code == 401
        with ws.connect(url, additional_headers={"Authorization": f"Bearer {viewer}"}):
            pass


def test_a_key_that_is_revoked_opens_nothing_any_more(keyed: tuple[GatewayStage, str], broker: Broker) -> None:
    stage, _ = keyed
    with written_key(broker, Role.VIEWER) as (key, text), httpx.Client(base_url=stage.url) as client:
        headers = {"authorization": f"Bearer {text}"}
        eventually(lambda: client.get("/v2", headers=headers).status_code == 200, what="the key")
        write(broker, replace(key, revoked_ms=1))
        eventually(lambda: client.get("/v2", headers=headers).status_code == 401, what="its end")
        assert "was revoked" in client.get("/v2", headers=headers).json()["error"]
