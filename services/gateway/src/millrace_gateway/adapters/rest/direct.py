"""Inference over HTTP the short way: a request that needs no framework is answered by callbacks, without a task.

uvicorn's protocol goes on to parse, to keep connections alive, to queue what is pipelined and to drain; only what lies
between a parsed request and its answer is another. Whatever is unusual about a request (chunks, a large body, a model
that is not loaded) goes the framework's way: `millrace_gateway.adapters.rest.inference`.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import structlog
from starlette.responses import Response
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from millrace.core.errors import MillraceError
from millrace_gateway.adapters.answering import Answering, Asked
from millrace_gateway.adapters.batching import Answered
from millrace_gateway.adapters.entrance import Entrance
from millrace_gateway.adapters.rest.connections import BoundedProtocol
from millrace_gateway.adapters.rest.refusals import JSON, refuse, refuse_status
from millrace_gateway.adapters.rest.tensors import HEADER_LENGTH, OCTETS, Form, TensorLimits, read_ask, write_answer
from millrace_gateway.logic.errors import NotFoundError
from millrace_gateway.logic.roles import role_for
from millrace_gateway.settings import Limits

log = structlog.get_logger()

_INFER: Final = re.compile(rb"/v2/models/([^/?%]+)(?:/versions/([^/?%]+))?/infer")
_UNUSUAL: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade"))
_NEEDS: Final = role_for("POST", "/v2/models/m/infer")
_HEADER_LENGTH: Final = HEADER_LENGTH.encode()
_OK_JSON: Final = f"HTTP/1.1 200 OK\r\ncontent-type: {JSON}\r\n".encode()
_OK_OCTETS: Final = f"HTTP/1.1 200 OK\r\ncontent-type: {OCTETS}\r\n{HEADER_LENGTH}: ".encode()
_CLOSE: Final = b"connection: close\r\n"

Observe: TypeAlias = Callable[[str], None]
"""Told the status of every answer."""


class Target(NamedTuple):
    """What a request asks, by its address."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class DirectInference:
    """Answers requests of `POST /v2/models/.../infer`. For one event loop.

    Attributes:
        answering: Answers what was read.
        tensors: Bounds of a request.
        entrance: Lets requests in.
        observe: Told of every answer.
        unusual: Headers, in lower case, with which a request goes the framework's way.
    """

    answering: Answering
    tensors: TensorLimits
    entrance: Entrance
    observe: Observe
    unusual: frozenset[bytes] = frozenset()

    def target(self, url: bytes, headers: Mapping[bytes, bytes]) -> Target | None:
        """What a request asks, where it can be answered the short way."""
        if not self.unusual.isdisjoint(headers):
            return None
        # Whom a proxy speaks for is the framework's business.
        if b"x-forwarded-for" in headers and not self.entrance.is_open:
            return None
        if (match := _INFER.fullmatch(url)) is None:
            return None
        model, version = match[1].decode("ascii"), (match[2] or b"").decode("ascii")
        return Target(model, version) if self.answering.repository.serving(model, version) else None

    def begin(self, exchange: "Exchange", address: str) -> None:
        """Read a request that is there as a whole, and see to it that it is answered."""
        headers, target = exchange.headers, exchange.target
        length = headers.get(_HEADER_LENGTH)
        try:
            if not self.entrance.is_open:
                texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
                self.entrance.check(texts, address, _NEEDS)
            ask, form = read_ask(
                bytes(exchange.body),
                header_length=None if length is None else length.decode("latin-1"),
                model=target.model,
                version=target.version,
                limits=self.tensors,
            )
            exchange.form = form
            # Only now: what answered when the head came may have been replaced while the body came.
            served = self.answering.repository.serving(target.model, target.version)
            if served is None:
                raise NotFoundError(f"{target.model} was unloaded", remedy="load it again")
            exchange.asked = self.answering.begin(served, ask, exchange)
        except MillraceError as error:
            exchange.refuse(refuse(error))


class Exchange:
    """One request and its answer. See `millrace_gateway.adapters.batching.Outcome`.

    Stands where uvicorn's protocol has a cycle of its own, which reads and sets what has no underscore below.
    """

    message_event: ClassVar[asyncio.Event] = asyncio.Event()  # that nobody waits for
    asked: Asked
    form: Form

    def __init__(self, connection: "DirectProtocol", target: Target, headers: Mapping[bytes, bytes]) -> None:
        self._connection = connection
        self.target = target
        self.headers = headers
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False

    def done(self) -> bool:
        """Whether it is answered, or its client is gone."""
        return self.response_complete or self.disconnected

    def set_result(self, result: Answered, /) -> None:
        """Answer."""
        answering = self._connection.direct.answering
        content, head_bytes = write_answer(answering.finish(self.asked, result), self.form)
        if head_bytes is None:
            self._send(_OK_JSON, content)
        else:
            self._send(b"%b%d\r\n" % (_OK_OCTETS, head_bytes), content)
        self._connection.direct.observe("200")

    def set_exception(self, exception: BaseException, /) -> None:
        """Refuse."""
        self._connection.direct.answering.fail(self.asked)
        if isinstance(exception, MillraceError):
            self.refuse(refuse(exception))
            return
        log.error("a request met a bug", model=self.target.model, error=repr(exception), exc_info=exception)
        self.refuse(refuse_status(HTTPStatus.INTERNAL_SERVER_ERROR, "the gateway failed; its log says why"))

    def refuse(self, response: Response) -> None:
        """Answer as the framework would."""
        status = HTTPStatus(response.status_code)
        head = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
        head += [b"%b: %b\r\n" % header for header in response.raw_headers if header[0] != b"content-length"]
        self._send(b"".join(head), bytes(response.body))
        self._connection.direct.observe(str(status.value))

    def _send(self, head: bytes, content: bytes) -> None:
        if self.done() or self._connection.is_refused or self._connection.transport.is_closing():
            return
        last = b"" if self.keep_alive else _CLOSE
        transport = self._connection.transport
        transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, last, len(content), content))
        self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self._connection.on_response_complete()


class DirectProtocol(BoundedProtocol):
    """The bounded protocol, with a short way. A subclass is bound by `direct_protocol`."""

    direct: ClassVar[DirectInference]

    _whole: Exchange | None = None

    def on_headers_complete(self) -> None:
        """Choose the way."""
        exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
        else:
            self._disarm()
            self.cycle = exchange  # type: ignore[assignment]  # what the base class needs of it is there

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        super().on_message_complete()
        if isinstance(self.cycle, Exchange) and not self.cycle.more_body:
            self._disarm()
            self._whole = self.cycle

    def data_received(self, data: bytes) -> None:
        """The client sent something: begin what it completes, and bound the wait for the rest of a body."""
        super().data_received(data)
        exchange, self._whole = self._whole, None
        if self.is_refused:
            return
        if exchange is not None:
            self.direct.begin(exchange, self.client[0] if self.client else "")
        elif isinstance(self.cycle, Exchange) and self.cycle.more_body:
            self._arm(self.limits.body_secs, "the body did not arrive")

    def _exchange(self) -> Exchange | None:
        """What answers this request the short way; None where it goes the framework's."""
        before: RequestResponseCycle | None = self.cycle
        parser, headers = self.parser, dict(self.headers)
        size = headers.get(b"content-length", b"")
        is_usual = (
            (before is None or before.response_complete)
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and size.isdigit()
            and int(size) <= HIGH_WATER_LIMIT
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and len(headers) == len(self.headers)
            and _UNUSUAL.isdisjoint(headers)
        )
        target = self.direct.target(self.url, headers) if is_usual else None
        return None if target is None else Exchange(self, target, headers)


def direct_protocol(limits: Limits, direct: DirectInference) -> type[DirectProtocol]:
    """The protocol with these limits, and this short way."""
    namespace: dict[str, Any] = {"limits": limits, "direct": direct}
    return type("_Direct", (DirectProtocol,), namespace)
