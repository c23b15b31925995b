"""The client of every contestant: requests over a number of connections, latency from the time that each was due.

Open loop: requests are due at a fixed pace, whether or not earlier ones were answered. One that finds no free
connection waits, and its wait counts. Over HTTP the client writes and finds answers by hand, so that it costs little.
"""

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import grpc
import numpy as np

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CALL: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Measured:
    """What a run showed.

    Attributes:
        requests_per_sec: Answered, in the time from the first due to the last answer.
        p50_ms: Half of the latencies were no longer.
        p99_ms: 99 of 100 were no longer.
        failed: Answers other than success.
    """

    requests_per_sec: int
    p50_ms: float
    p99_ms: float
    failed: int


class Connection(Protocol):
    """Asks once at a time."""

    async def ask(self) -> bool:
        """Ask and wait; whether the answer was a success."""
        ...


@dataclass
class HttpConnection(asyncio.Protocol):
    """One keep-alive connection over HTTP/1.1 that sends the same request again and again."""

    request: bytes
    _received: bytearray = field(default_factory=bytearray)
    _answer: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        length = _LENGTH.search(self._received, 0, end)
        if length is not None and len(self._received) >= end + 4 + int(length[1]):
            is_success = self._received.startswith(b"HTTP/1.1 200")
            self._received.clear()
            self._answer.set_result(is_success)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(False)

    async def ask(self) -> bool:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self.request)
        return await self._answer


@dataclass
class GrpcConnection:
    """One channel of its own that sends the same message again and again."""

    channel: grpc.aio.Channel
    message: bytes

    async def ask(self) -> bool:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(_CALL)
        return await ask(self.message).code() is grpc.StatusCode.OK


async def http_connections(host: str, port: int, path: str, body: bytes, count: int) -> list[Connection]:
    """So many connections over HTTP."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: HttpConnection(request), host, port))[1] for _ in range(count)]


def grpc_connections(target: str, message: bytes, count: int) -> list[Connection]:
    """So many channels that share no connection."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    return [GrpcConnection(grpc.aio.insecure_channel(target, options=options), message) for _ in range(count)]


async def saturate(connections: list[Connection], seconds: float) -> int:
    """Requests per second where every connection asks again as soon as it is answered."""
    until = time.perf_counter() + seconds

    async def ask_on(connection: Connection) -> int:
        count = 0
        while time.perf_counter() < until:
            count += await connection.ask()
        return count

    return round(sum(await asyncio.gather(*map(ask_on, connections))) / seconds)


async def pace(connections: list[Connection], rate: float, seconds: float) -> Measured:
    """Ask at a pace, in an open loop."""
    count = max(1, round(rate * seconds))
    started = time.perf_counter() + 0.05
    due = started + np.arange(count) / rate
    waiting: deque[float] = deque()
    free = deque(connections)
    latencies: list[float] = []
    failed = 0
    is_over = asyncio.Event()

    async def serve(connection: Connection) -> None:
        nonlocal failed
        while waiting:
            at = waiting.popleft()
            failed += not await connection.ask()
            latencies.append(time.perf_counter() - at)
        free.append(connection)
        if len(latencies) == count:
            is_over.set()

    tasks: set[asyncio.Task[None]] = set()
    for at in due.tolist():
        if (left := at - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        waiting.append(at)
        if free:
            task = asyncio.create_task(serve(free.popleft()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await is_over.wait()
    p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99]).tolist()
    return Measured(round(count / (time.perf_counter() - started)), round(p50, 2), round(p99, 2), failed)
