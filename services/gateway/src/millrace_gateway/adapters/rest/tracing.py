"""A span for each request over HTTP whose `traceparent` says that its trace is recorded."""

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.telemetry.spans import Tracing
from millrace.telemetry.traces import CURRENT, TRACEPARENT, TraceContext


class Traced:
    """An ASGI application around another one.

    Args:
        app: What answers.
        tracing: Makes the spans.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it be answered."""
        parent = None
        if scope["type"] == "http":
            parent = TraceContext.recorded(Headers(scope=scope).get(TRACEPARENT, "").encode("latin-1"))
        if parent is None:
            await self._app(scope, receive, send)
            return
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._tracing.span(scope["method"], kind=SpanKind.SERVER, parent=parent, attributes=attributes) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.note("http.response.status_code", message["status"])
                await send(message)

            said = CURRENT.set(span.context.header())
            try:
                await self._app(scope, receive, noted)
            finally:
                CURRENT.reset(said)
            span.rename(f"{scope['method']} {_place(scope)}".strip())


def _place(scope: Scope) -> str:
    """The template of the path, or the name of what answered; nothing where no route was found."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    return getattr(scope.get("endpoint"), "__name__", "")
