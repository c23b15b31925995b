"""A gateway that is asked to stop while something is in hand."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import grpc
import httpx
from gateway_stage import GatewayStage, is_ready

from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.lifecycle import Shutdown
from millrace.testing.waiting import eventually
from millrace_gateway.app import Gateway

LONG = timedelta(hours=1)
"""No test waits until a drain of this length is over by itself."""


@contextmanager
def at_work_on(stage: GatewayStage, deployment: Deployment, shutdown: Shutdown) -> Iterator[threading.Thread]:
    """The thread of a gateway that is ready, and that waits for the rest of a body as long as a drain may last."""
    options = stage.options(limits={"body_secs": LONG.total_seconds()})
    clock = SystemClock()
    gateway = Gateway(stage.settings, options, stage.broker.kafka, (deployment,), slot=0, clock=clock)
    thread = threading.Thread(target=gateway.run, args=(shutdown,), name="gateway-0")
    thread.start()
    try:
        with httpx.Client(base_url=stage.url) as client:
            eventually(lambda: is_ready(client), within=timedelta(minutes=1), what="the gateway's readiness")
        yield thread
    finally:
        shutdown.request()
        shutdown.request()
        thread.join()


@contextmanager
def unfinished_request(stage: GatewayStage) -> Iterator[socket.socket]:
    """A request in hand: the gateway has its head, has asked for its body, and gets nothing more."""
    head = b"POST /v1/streams/rain/events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", stage.rest_port), timeout=60)) as connection:
        connection.sendall(head)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")
        yield connection


@contextmanager
def unfinished_call(stage: GatewayStage) -> "Iterator[grpc.Call]":
    """A call in hand: one message of its stream was answered, and it stays open."""
    enough = threading.Event()

    def contents() -> Iterator[bytes]:
        yield b""
        enough.wait()

    with grpc.insecure_channel(stage.target) as channel:
        method = "/inference.GRPCInferenceService/ModelStreamInfer"
        ask: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        call = ask(contents())
        try:
            next(call)
            yield call
        finally:
            enough.set()


def test_the_first_wish_waits_for_what_is_in_hand_and_the_second_cuts_it_off(
    stage: GatewayStage, deployment: Deployment
) -> None:
    shutdown = Shutdown(clock=SystemClock(), drain=LONG)
    with (
        at_work_on(stage, deployment, shutdown) as thread,
        httpx.Client(base_url=stage.url) as client,
        unfinished_request(stage) as request,
        unfinished_call(stage) as call,
    ):
        shutdown.request()
        eventually(lambda: not is_ready(client), within=timedelta(minutes=1), what="the wish to be heard")
        assert thread.is_alive()
        shutdown.request()
        thread.join(60)
        assert not thread.is_alive()
        assert request.recv(1_000) == b""
        assert call.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
