"""Whatever a client does on a WebSocket, the gateway answers it or shows it out, and goes on for the others.

`make chaos` draws many more (MILLRACE_FUZZ_EXAMPLES).
"""

import os
import socket
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import TypeAlias
from urllib.parse import quote

import httpx
import pytest
import websockets.sync.client as ws
from gateway_stage import GatewayStage
from prediction_topic import PredictionTopic
from websockets.exceptions import InvalidStatus, WebSocketException

from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

Query: TypeAlias = list[tuple[str, str]]
Frames: TypeAlias = list[str | bytes]

SEEDS = range(max(60, int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "0"))))
REFUSALS = {400, 403, 404, 503}
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NAMES = ["start", "key", "version", "class", "min_score", "max_score", "colour", ""]
PLACES = ["earliest", "latest", "0:0,1:0", "0:1,0:1", "9:9", "1m", "99999999w", "-1", "1e999", "nan", "0:" + "9" * 19]

KEPT: list[tuple[Query, Frames]] = [
    ([("start", "0:0,1:0"), ("start", "latest")], []),
    ([("key", "")] * 3, ["", b""]),
    ([("min_score", "2"), ("max_score", "1")], []),
    ([("start", "9" * 4_000 + "w")], []),
    ([("version", "9" * 400)], []),
    ([("start", "0001-01-01T00:00:00Z")], []),
    ([("start", "9999-12-31T23:59:59-23:59")], []),
]
KEPT_BYTES = [
    b"\x81\xff" + b"\xff" * 8,  # a text of 2^64 - 1 bytes
    b"\x88\x00",  # a close without a mask
    b"\x89\xfe\x10\x00",  # a ping that is too long
    b"\x01\x81\x00\x00\x00\x00a\x81\x81\x00\x00\x00\x00b",  # a fragment, and then another text
]


@pytest.fixture(scope="module")
def topic(broker: Broker) -> PredictionTopic:
    made = PredictionTopic(broker)
    made.write(10)
    return made


def drawn(seed: int) -> tuple[Query, Frames]:
    """Parameters and frames of a seed."""
    random = Random(seed)
    query = [(random.choice(NAMES), random.choice([*PLACES, text(random)])) for _ in range(random.randrange(4))]
    texts: Frames = [text(random) for _ in range(random.randrange(3))]
    frames = [*texts, random.randbytes(50)] if random.random() < 0.5 else texts
    return query, frames


def text(random: Random) -> str:
    characters = (chr(random.choice([random.randrange(32, 127), random.randrange(0xD800)])) for _ in range(20))
    return "".join(characters)


def is_unhurt(client: httpx.Client) -> bool:
    said = client.get("/metrics").text
    return 'active_subscribers{transport="websocket"} 0.0' in said and client.get("/v2/health/live").status_code == 200


def refusal(url: str, frames: Frames) -> int | None:
    """The status with which a connection was refused; None where it came about and was ended by somebody."""
    try:
        connection = ws.connect(url, open_timeout=20)
    except InvalidStatus as error:
        return error.response.status_code
    with connection, suppress(WebSocketException):
        connection.recv(timeout=10)
        for frame in frames:
            connection.send(frame)
        if frames:
            connection.recv(timeout=10)
    return None


def test_parameters_and_frames(stage: GatewayStage, topic: PredictionTopic) -> None:
    with stage.running() as client:
        for query, frames in [*KEPT, *map(drawn, SEEDS)]:
            asked = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
            status = refusal(f"ws://127.0.0.1:{stage.rest_port}{topic.path}?{asked}", frames)
            assert status is None or status in REFUSALS, (query, status)
        eventually(lambda: is_unhurt(client), within=timedelta(seconds=120), what="a gateway without subscribers")


def test_bytes_that_are_no_frames(stage: GatewayStage, topic: PredictionTopic) -> None:
    with stage.running() as client:
        for content in [*KEPT_BYTES, *(Random(seed).randbytes(200) for seed in SEEDS)]:
            with socket.create_connection(("127.0.0.1", stage.rest_port), timeout=10) as raw:
                raw.sendall(UPGRADE.format(path=topic.path).encode())
                assert raw.recv(4096).startswith(b"HTTP/1.1 101")
                raw.sendall(content)
        eventually(lambda: is_unhurt(client), within=timedelta(seconds=120), what="a gateway without subscribers")
