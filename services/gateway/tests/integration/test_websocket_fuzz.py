"""Whatever a client does on a WebSocket, the gateway answers it or shows it out, and goes on for the others."""

import contextlib
import socket
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest
import websockets.sync.client as ws
from gateway_stage import GatewayStage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prediction_topic import PredictionTopic
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

REFUSALS = {400, 403, 404, 503}
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

names = st.sampled_from(["start", "key", "version", "class", "min_score", "max_score", "colour", ""])
values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["earliest", "latest", "0:0,1:0", "0:1,0:1", "9:9", "1m", "99999999w", "-1", "1e999", "nan", "0:" + "9" * 19]
    ),
)
queries = st.lists(st.tuples(names, values), max_size=4)
frames = st.lists(st.one_of(st.text(max_size=50), st.binary(max_size=50)), max_size=3)


@pytest.fixture(scope="module")
def topic(broker: Broker) -> PredictionTopic:
    made = PredictionTopic(broker)
    made.write(10)
    return made


def is_unhurt(client: httpx.Client) -> bool:
    text = client.get("/metrics").text
    return 'active_subscribers{transport="websocket"} 0.0' in text and client.get("/v2/health/live").status_code == 200


def test_parameters_and_frames(stage: GatewayStage, topic: PredictionTopic) -> None:
    with stage.running() as client:

        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(query=queries, sent=frames)
        @example(query=[("start", "0:0,1:0"), ("start", "latest")], sent=[])
        @example(query=[("key", "")] * 3, sent=["", b""])
        @example(query=[("min_score", "2"), ("max_score", "1")], sent=[])
        @example(query=[("start", "9" * 4_000 + "w")], sent=[])
        @example(query=[("version", "9" * 400)], sent=[])
        def fuzz(query: list[tuple[str, str]], sent: list[str | bytes]) -> None:
            url = f"ws://127.0.0.1:{stage.rest_port}{topic.path}?" + "&".join(
                f"{quote(name)}={quote(value, errors='replace')}" for name, value in query
            )
            try:
                with ws.connect(url, open_timeout=20) as socket_:
                    with contextlib.suppress(WebSocketException):
                        for frame in sent:
                            socket_.send(frame)
                        socket_.recv(timeout=10)
            except InvalidStatus as error:
                assert error.response.status_code in REFUSALS, error.response
            except InvalidHandshake as error:
                raise AssertionError(f"no answer to {url}") from error

        fuzz()
        eventually(lambda: is_unhurt(client), within=timedelta(seconds=20), what="a gateway without subscribers")


def test_bytes_that_are_no_frames(stage: GatewayStage, topic: PredictionTopic) -> None:
    with stage.running() as client:

        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(content=st.binary(max_size=200))
        @example(content=b"\x81\xff" + b"\xff" * 8)  # a text of 2^64 - 1 bytes
        @example(content=b"\x88\x00")  # a close without a mask
        @example(content=b"\x89\xfe\x10\x00")  # a ping that is too long
        @example(content=b"\x01\x81\x00\x00\x00\x00a\x81\x81\x00\x00\x00\x00b")  # a fragment, and then another text
        def fuzz(content: bytes) -> None:
            with socket.create_connection(("127.0.0.1", stage.rest_port), timeout=10) as raw:
                raw.sendall(UPGRADE.format(path=topic.path).encode())
                assert raw.recv(4096).startswith(b"HTTP/1.1 101")
                raw.sendall(content)

        fuzz()
        eventually(lambda: is_unhurt(client), within=timedelta(seconds=20), what="a gateway without subscribers")
