"""The doors over TLS: REST, WebSocket and gRPC with certificates that the test has made, and a real handshake."""

import socket
import ssl
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import httpx
import orjson
import pytest
import websockets.sync.client as ws
from gateway_stage import GatewayStage
from grpc_health.v1 import health_pb2, health_pb2_grpc
from scorer_stream import MakeStream, Stream
from websockets.exceptions import WebSocketException

from millrace.core.errors import RequestError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import Shutdown
from millrace.process.tls import ClientTls, ServerTls
from millrace.testing.certificates import Authority, Identity
from millrace_gateway.app import Gateway

ROW: Final = {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3]}]}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates", "authority")


@pytest.fixture
def server(authority: Authority) -> Identity:
    return authority.issue("gateway")


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    return ClientTls(ca=authority.file).context()


@pytest.fixture
def served(stream: MakeStream) -> Stream:
    return stream()


def channel(stage: GatewayStage, authority: Path, shown: Identity | None = None) -> grpc.Channel:
    key, certificate = (shown.key.read_bytes(), shown.certificate.read_bytes()) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.read_bytes(), key, certificate)
    return grpc.secure_channel(stage.target, credentials)


def is_serving(opened: grpc.Channel) -> bool:
    asked = health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=False)
    return bool(asked.status == health_pb2.HealthCheckResponse.SERVING)


def test_every_door_speaks_tls_and_none_speaks_in_clear(
    stage: GatewayStage, served: Stream, authority: Authority, server: Identity, trust: ssl.SSLContext
) -> None:
    options = stage.options(tls=ServerTls(certificate=server.certificate, key=server.key), limits={"head_secs": 2})
    with stage.running(served.deployment(), options=options, trust=trust) as client:
        # The short way, and the framework's.
        assert client.post(f"/v2/models/{served.name}/infer", json=ROW).status_code == 200
        assert client.get("/v2").status_code == 200
        where = f"wss://127.0.0.1:{stage.rest_port}/v1/deployments/{served.name}/predictions"
        with ws.connect(where, ssl=trust) as socket_:
            assert orjson.loads(socket_.recv(timeout=60))["id"] in {"0:0", "0:1"}, "asked before"
        with channel(stage, authority.file) as opened:
            assert is_serving(opened)

        stranger = Authority(authority.file.parent / "others", "stranger")
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(client.base_url, verify=ClientTls(ca=stranger.file).context())
        with channel(stage, stranger.file) as opened, pytest.raises(grpc.RpcError) as refused:
            is_serving(opened)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.HTTPError):
            httpx.get(stage.url, timeout=60)
        with grpc.insecure_channel(stage.target) as opened, pytest.raises(grpc.RpcError):
            is_serving(opened)


def test_what_is_refused_before_any_route_is_answered_over_tls_too(
    stage: GatewayStage, server: Identity, trust: ssl.SSLContext
) -> None:
    options = stage.options(tls=ServerTls(certificate=server.certificate, key=server.key), limits={"head_bytes": 1_000})
    with stage.running(options=options, trust=trust) as client:
        refused = client.get("/v2", headers={"x": "y" * 2_000})
        assert (refused.status_code, refused.json()["code"]) == (431, "too_large")
        assert client.get("/v2").status_code == 200, "the client could not connect again"


def test_who_only_holds_a_connection_does_not_hold_up_the_stop(
    stage: GatewayStage, server: Identity, trust: ssl.SSLContext
) -> None:
    options = stage.options(tls=ServerTls(certificate=server.certificate, key=server.key))
    with ExitStack() as held:
        with stage.running(options=options, trust=trust):
            silent = socket.create_connection(("127.0.0.1", stage.rest_port), timeout=60)
            connection = held.enter_context(
                trust.wrap_socket(silent, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
            )
            connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        with pytest.raises(ssl.SSLEOFError):  # no farewell, which it would have had to answer
            list(iter(partial(connection.recv, 1_000), b""))


def test_with_an_authority_of_clients_nobody_comes_in_without_a_certificate_of_it(
    stage: GatewayStage, served: Stream, authority: Authority, server: Identity, tmp_path: Path
) -> None:
    known = authority.issue("somebody", host=None)
    stranger = Authority(tmp_path / "others", "stranger").issue("somebody", host=None)
    options = stage.options(tls=ServerTls(certificate=server.certificate, key=server.key, client_ca=authority.file))
    shown = ClientTls(ca=authority.file, certificate=known.certificate, key=known.key).context()
    foreign = ClientTls(ca=authority.file, certificate=stranger.certificate, key=stranger.key).context()
    with stage.running(served.deployment(), options=options, trust=shown) as client:
        assert client.post(f"/v2/models/{served.name}/infer", json=ROW).status_code == 200
        with channel(stage, authority.file, known) as opened:
            assert is_serving(opened)
        for context in (ClientTls(ca=authority.file).context(), foreign):
            with pytest.raises(httpx.TransportError):
                httpx.get(client.base_url, verify=context)
            with pytest.raises((OSError, WebSocketException)):
                ws.connect(f"wss://127.0.0.1:{stage.rest_port}/v1/deployments/x/predictions", ssl=context)
        for each in (None, stranger):
            with channel(stage, authority.file, each) as opened, pytest.raises(grpc.RpcError) as refused:
                is_serving(opened)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_is_none_ends_the_gateway_with_one_line(
    stage: GatewayStage, server: Identity, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "others", "other").issue("other")
    tls = ServerTls(certificate=server.certificate, key=other.key)
    gateway = Gateway(stage.settings, stage.options(tls=tls), stage.broker.kafka, (), slot=0, clock=SystemClock())
    with pytest.raises(RequestError, match="do not fit") as refused:
        gateway.run(Shutdown(clock=SystemClock()))
    assert "\n" not in str(refused.value)
