"""Bounds of connections and of clients, tried from outside with plain sockets."""

import json
import socket
from contextlib import closing

import grpc
from gateway_stage import GatewayStage
from scorer_stream import MakeStream

from millrace.testing.waiting import eventually


def talk(stage: GatewayStage, content: bytes) -> bytes:
    """Send these bytes and read until the gateway hangs up."""
    with closing(socket.create_connection(("127.0.0.1", stage.rest_port), timeout=20)) as connection:
        connection.sendall(content)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return received


def code_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


def test_a_head_that_is_too_long_too_slow_or_no_http_is_refused_and_ends_the_connection(stage: GatewayStage) -> None:
    limits = {"head_bytes": 1_000, "head_secs": 0.3}
    with stage.running(options=stage.options(limits=limits)):
        assert code_of(talk(stage, b"GET /v2 HTTP/1.1\r\nx: " + b"y" * 2_000 + b"\r\n\r\n")) == (431, "too_large")
        assert code_of(talk(stage, b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n\r\n")) == (414, "too_large")
        assert code_of(talk(stage, b"hello\r\n\r\n")) == (400, "invalid")
        assert code_of(talk(stage, b"")) == (408, "slow")
        assert code_of(talk(stage, b"GET /v2 HTTP/1.1\r\nx: ")) == (408, "slow")


def test_a_body_needs_a_length_and_must_arrive_in_time(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    head = f"POST /v2/models/{s.name}/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
    with stage.running(s.deployment(), options=stage.options(limits={"body_secs": 0.3})):
        assert code_of(talk(stage, head + b"\r\n")) == (411, "length_required")
        assert code_of(talk(stage, head + b"content-length: 100\r\n\r\n{")) == (408, "slow")


def test_one_connection_too_many_is_told_so(stage: GatewayStage) -> None:
    with stage.running(options=stage.options(limits={"connections": 3})) as client:
        assert client.get("/v2").status_code == 200  # holds a connection
        held = [socket.create_connection(("127.0.0.1", stage.rest_port), timeout=10) for _ in range(2)]
        try:
            assert code_of(talk(stage, b"GET /v2 HTTP/1.1\r\n\r\n")) == (503, "unavailable")
        finally:
            for connection in held:
                connection.close()
        eventually(lambda: b" 200 " in talk(stage, b"GET /v2 HTTP/1.1\r\nconnection: close\r\n\r\n"), what="room")


def test_a_client_that_asks_too_often_is_told_when_to_come_back(stage: GatewayStage) -> None:
    with stage.running(options=stage.options(limits={"requests_per_sec": 20})) as client:
        answers = [client.get("/v2", headers={"x-api-key": "eager"}) for _ in range(60)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "rate_limited"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert client.get("/v2", headers={"x-api-key": "calm"}).status_code == 200
        with grpc.insecure_channel(stage.target) as channel:
            live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerLive"
            )
            calls = [live.future(b"", timeout=10, metadata=(("x-api-key", "eager-too"),)) for _ in range(60)]
            codes = {call.code() for call in calls}
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
