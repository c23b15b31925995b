"""HTTP on one port, in a thread of its own."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from threading import Thread
from types import TracebackType
from typing import Final, Self

import uvicorn
from fastapi import FastAPI

from millrace.core.errors import RequestError
from millrace.process.tls import ServerTls

_DRAIN: Final = timedelta(seconds=2)


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Hold a port while inside; 0 takes a free one.

    Raises:
        RequestError: The port is taken, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
            server.listen()  # From here on callers wait for the answer instead of being refused.
        except OSError as error:
            raise RequestError(
                f"the REST API cannot be served on {host}:{port}: {error.strerror}",
                remedy="choose another port: --port, or MILLRACE_LAUNCHER__PORT; 0 is any",
            ) from error
        yield server


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; False for a name that is not known."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ip_address(each).is_loopback for each in found)


class RestServer:
    """Serves an application while inside a `with`.

    Args:
        api: The application.
        server: The socket to listen on.
        tls: The certificate to show; None speaks in clear.

    Raises:
        RequestError: The certificate is none.
    """

    def __init__(self, api: FastAPI, server: socket.socket, tls: ServerTls | None = None) -> None:
        context = None if tls is None else tls.context()
        config = uvicorn.Config(
            api,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # Whoever sends them could choose the address by which wrong keys are counted.
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=int(_DRAIN.total_seconds()),
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = uvicorn.Server(config) if context is None else _TlsServer(config)
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [server]}, name="rest")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()


class _TlsServer(uvicorn.Server):
    """Hangs up at its end: TLS waits for the client's farewell, and one that reads nothing says none.

    A connection that is left behind would keep uvloop from closing, for good.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, for a while, and let nobody hold the server."""
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is None or cycle.response_complete:
                connection.transport.abort()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they are told
