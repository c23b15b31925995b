"""Bounds of a connection, below any request: how many there are, and how long and how slow a head may be."""

import asyncio
from http import HTTPStatus
from typing import ClassVar, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from millrace_gateway.adapters.rest.refusals import Code
from millrace_gateway.settings import Limits

_MAX_URL_BYTES: Final = 16_384

_LINGER_SECS: Final = 1.0
"""How long a refused client may go on sending before it is cut off."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds. A subclass is bound to its limits by `direct_protocol`."""

    limits: ClassVar[Limits]

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _refusal: tuple[HTTPStatus, Code, str] | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """A client connected; one too many is told so and let go."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE, "there are too many connections")
        else:
            self._await_head()

    def shutdown(self) -> None:
        """The server stops: what is being answered is answered, and who only waits is let go.

        Over TLS without a farewell: the client would have to answer one, and need not read.
        """
        cycle: RequestResponseCycle | None = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if is_idle and not self.transport.can_write_eof():
            self.transport.abort()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The client sent something; from one that was refused it is read and dropped."""
        if not self._is_refused:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins: its head must come in time."""
        super().on_message_begin()
        self._head_bytes = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """More of the address; one that is too long ends the connection."""
        super().on_url(url)
        if len(self.url) > _MAX_URL_BYTES:
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG, Code.TOO_LARGE, "the address is too long"
            raise ValueError(_MAX_URL_BYTES)  # ends the parser, which ends in `send_400_response`

    def on_header(self, name: bytes, value: bytes) -> None:
        """Another header; too many bytes of them end the connection."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.limits.head_bytes:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refusal = status, Code.TOO_LARGE, f"the headers are longer than {self.limits.head_bytes} bytes"
            raise ValueError(self._head_bytes)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or is beyond a bound of its head."""
        self._refuse(*(self._refusal or (HTTPStatus.BAD_REQUEST, Code.INVALID, msg)))

    @property
    def is_refused(self) -> bool:
        """Whether the last that the client gets was written."""
        return self._is_refused

    def _await_head(self) -> None:
        self._arm(self.limits.head_secs, "no request arrived")

    def _arm(self, secs: float, what: str) -> None:
        """End the connection if nothing disarms it within this time."""
        if self._timer is None:
            self._timer = self.loop.call_later(secs, self._too_slow, f"{what} within {secs:g} s")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self, message: str) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, Code.SLOW, message)

    def _refuse(self, status: HTTPStatus, code: Code, message: str) -> None:
        self._disarm()
        if self._is_refused or self.transport.is_closing():
            return
        body = orjson.dumps({"error": message, "remedy": "", "code": code})
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *(["retry-after: 1"] if status is HTTPStatus.SERVICE_UNAVAILABLE else []),
        ]
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        # A connection that is closed over bytes nobody read is reset, and the client never sees the answer: so only our
        # side is closed, and the client's when it has hung up.
        self._is_refused = True
        # Over TLS no side can be closed alone: there the client reads on.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_SECS, self.transport.close)
