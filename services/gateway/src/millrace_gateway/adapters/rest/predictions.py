"""Predictions out, over HTTP: server-sent events and WebSocket."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Header, Query, Request, WebSocket
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from millrace.core.errors import MillraceError, RequestError
from millrace.process.refusal import refusal
from millrace.telemetry.streams import Transport
from millrace_gateway.adapters.prediction_streams import PredictionStreams
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.adapters.rest.refusals import refuse
from millrace_gateway.adapters.streaming import Streaming
from millrace_gateway.adapters.subscriptions import Portion, Subscription
from millrace_gateway.adapters.wanted import Wanted

PATH: Final = "/v1/deployments/{deployment}/predictions"
EVENT_STREAM: Final = "text/event-stream"

_RETRY_MS: Final = 1_000
_UNSUPPORTED, _REFUSED, _TRY_AGAIN = 1003, 1008, 1013  # close codes of RFC 6455 and its registry
_REASON_BYTES: Final = 123  # what a close frame has room for
_MULTIPLE: Final = frozenset({"key"})


def predictions_door(streams: PredictionStreams) -> RestDoor:
    """`GET /v1/deployments/{deployment}/predictions`, as an event stream or a WebSocket."""
    router = APIRouter(tags=["predictions"])
    origins = streams.hub.options.origins

    @router.get(PATH, response_model=None, responses={200: {"content": {EVENT_STREAM: {}}}})
    async def events(
        request: Request,
        deployment: str,
        wanted: Annotated[Wanted, Query()],
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Follow a deployment's predictions as server-sent events.

        Every event's id is a place: with it as `Last-Event-ID`, or as `start`, exactly what would have come next comes.
        """
        subscription = await streams.subscribe(deployment, wanted, last_event_id)
        origin = request.headers.get("origin")
        return EventStream(
            subscription, streams.streaming(Transport.SSE), origin if _is_listed(origin, origins) else None
        )

    @router.websocket(PATH)
    async def frames(websocket: WebSocket, deployment: str) -> None:
        try:
            _check_origin(websocket.headers, origins)
            subscription = await streams.subscribe(deployment, _wanted(websocket))
        except MillraceError as error:
            await websocket.send_denial_response(refuse(error))
            return
        await _serve_frames(websocket, subscription, streams.streaming(Transport.WEBSOCKET))

    return RestDoor(router)


class EventStream(Response):
    """A subscription as server-sent events (the HTML standard's `text/event-stream`).

    Args:
        subscription: Closed at the end.
        streaming: Serves it.
        origin: The site whose page may read the answer, where it is another's.
    """

    media_type = EVENT_STREAM

    def __init__(self, subscription: Subscription, streaming: Streaming, origin: str | None) -> None:
        allowed = {} if origin is None else {"access-control-allow-origin": origin, "vary": "origin"}
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no", **allowed})
        del self.headers["content-length"]
        self._subscription = subscription
        self._streaming = streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves or the stream ends."""

        async def write(content: bytes) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": True})

        async def work() -> MillraceError:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await write(_opening(self._subscription))
            return await self._streaming.run(self._subscription, lambda portion: write(_events(portion)))

        async with self._subscription:
            error = await _while_there(work, lambda: _left(receive))
        if error is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._streaming.stall_secs):
                    body = b"event: end\ndata: %b\n\n" % orjson.dumps(_reason(error))
                    await send({"type": "http.response.body", "body": body})


async def _serve_frames(websocket: WebSocket, subscription: Subscription, streaming: Streaming) -> None:
    async def send(portion: Portion) -> None:
        for event in portion.events:
            await websocket.send_text(f'{{"id":"{event.id}","prediction":{event.prediction.text.decode()}}}')
        if not portion.events:
            await websocket.send_text(f'{{"id":"{portion.id}"}}')

    async def work() -> MillraceError:
        opening: dict[str, Any] = {"id": subscription.id}
        if subscription.deleted:
            opening["deleted"] = {str(number): count for number, count in subscription.deleted.items()}
        await websocket.send_text(orjson.dumps(opening).decode())
        return await streaming.run(subscription, send)

    async def said_something() -> None:
        await websocket.receive()

    error: MillraceError | None = None
    async with subscription:
        with suppress(WebSocketDisconnect):
            await websocket.accept()
            error = await _while_there(work, said_something)
    # The client has gone already, or it sent something, which nobody here understands.
    code, reason = _UNSUPPORTED, "nothing is to be sent here"
    if error is not None:
        code, reason = (_REFUSED if isinstance(error, RequestError) else _TRY_AGAIN), error.message
    with suppress(RuntimeError, TimeoutError):
        async with asyncio.timeout(streaming.stall_secs):
            await websocket.close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))


async def _while_there(
    work: Callable[[], Awaitable[MillraceError]], left: Callable[[], Awaitable[None]]
) -> MillraceError | None:
    """Work until it ends, and return how; or until the client has left, and return nothing."""
    at_work = asyncio.ensure_future(work())
    watch = asyncio.ensure_future(left())
    try:
        await asyncio.wait({at_work, watch}, return_when=asyncio.FIRST_COMPLETED)
        return at_work.result() if at_work.done() else None
    finally:
        for task in (at_work, watch):
            task.cancel()
        await asyncio.gather(at_work, watch, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _opening(subscription: Subscription) -> bytes:
    content = b"retry: %d\nid: %b\n\n" % (_RETRY_MS, subscription.id.encode())
    if subscription.deleted:
        gone = {str(number): count for number, count in subscription.deleted.items()}
        content += b"event: deleted\ndata: %b\n\n" % orjson.dumps(gone)
    return content


def _events(portion: Portion) -> bytes:
    if not portion.events:
        return b"id: %b\n\n" % portion.id.encode()  # moves the client's last id, and is no event
    return b"".join(b"id: %b\ndata: %b\n\n" % (event.id.encode(), event.prediction.text) for event in portion.events)


def _reason(error: MillraceError) -> Mapping[str, str]:
    return {"error": error.message, "remedy": error.remedy}


def _wanted(websocket: WebSocket) -> Wanted:
    query = websocket.query_params
    given: dict[str, Any] = {name: query.getlist(name) if name in _MULTIPLE else query[name] for name in query}
    try:
        return Wanted.model_validate(given)
    except ValidationError as error:
        raise refusal(error, subject="the address") from None


def _check_origin(headers: Headers, origins: tuple[str, ...]) -> None:
    """A page of another site may not use this connection, which a browser opens without asking.

    Raises:
        RequestError: It is such a page.
    """
    origin = headers.get("origin")
    if origin is None or urlsplit(origin).netloc == headers.get("host") or _is_listed(origin, origins):
        return
    raise RequestError(
        f"pages of {origin[:100]} may not subscribe here",
        remedy="add the site to MILLRACE_GATEWAY__SUBSCRIPTIONS__ORIGINS",
    )


def _is_listed(origin: str | None, origins: tuple[str, ...]) -> bool:
    return origin is not None and (origin in origins or "*" in origins)
