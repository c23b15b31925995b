"""HTTP on a port that several gateways of one machine may share."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from millrace.core.errors import RequestError
from millrace.process.tls import ServerTls
from millrace_gateway.adapters.patience import Patience
from millrace_gateway.adapters.rest.direct import DirectInference, direct_protocol
from millrace_gateway.settings import Limits, Rest

_BACKLOG = 2048


class RestServer:
    """Serves an application over HTTP while inside `async with`.

    Leaving waits for what is being answered; what outlasts patience is cut off.

    Args:
        app: What answers.
        direct: Answers inference the short way.
        address: Where to listen.
        limits: Bounds of connections and requests.
        patience: Ends the wait for what is being answered.
        tls: The certificate to show; None speaks in clear.

    Raises:
        RequestError: The address is in use by something else, or not this machine's; or the certificate is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        direct: DirectInference,
        address: Rest,
        limits: Limits,
        *,
        patience: Patience,
        tls: ServerTls | None = None,
    ) -> None:
        self._patience = patience
        context = None if tls is None else tls.context()
        self._scheme = "http" if context is None else "https"
        self._socket = _listening(address)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=direct_protocol(limits, direct),
                ws="websockets-sansio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="rest")
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        if not await self._patience.covers(self._task):
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._server.force_exit = True
            await self._task


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the frame's: `millrace.process.lifecycle`."""
        yield


def _listening(address: Rest) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((address.host, address.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise RequestError(
            f"HTTP cannot be served on {address.host}:{address.port}: {error.strerror}",
            remedy="set MILLRACE_GATEWAY__REST__PORT to a free port, or to 0 for any",
        ) from None
    return listening
