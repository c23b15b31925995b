"""A span for each call over gRPC whose `traceparent` says that its trace is recorded."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
from opentelemetry.trace import SpanKind

from millrace.telemetry.spans import Tracing
from millrace.telemetry.traces import CURRENT, TRACEPARENT, TraceContext

if TYPE_CHECKING:
    from millrace_gateway.adapters.grpc.doors import Context

    # The stubs know handlers of servers without an event loop alone.
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]


class TracedCalls(grpc.aio.ServerInterceptor):
    """Stands before every call of a server.

    Args:
        tracing: Makes the spans.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """What answers one call: as it is, where the call comes without a recorded context."""
        handler = await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata or ())
        said = metadata.get(TRACEPARENT, "")
        parent = TraceContext.recorded(said.encode("latin-1") if isinstance(said, str) else said)
        if parent is None or handler is None:  # a method that there is none of has no handler
            return handler
        return self._wrapped(handler, str(handler_call_details.method).lstrip("/"), parent)

    def _wrapped(self, handler: "Handler", name: str, parent: TraceContext) -> "Handler":
        if handler.request_streaming:
            streams: Any = handler.stream_stream

            async def converse(asked: AsyncIterator[bytes], context: "Context") -> AsyncIterator[bytes]:
                with self._span(name, parent, context):
                    async for answer in streams(asked, context):
                        yield answer

            return grpc.stream_stream_rpc_method_handler(converse)
        if handler.response_streaming:
            feed: Any = handler.unary_stream

            async def write(asked: bytes, context: "Context") -> None:
                with self._span(name, parent, context):
                    await feed(asked, context)

            return grpc.unary_stream_rpc_method_handler(write)
        unary: Any = handler.unary_unary

        async def answer(asked: bytes, context: "Context") -> bytes:
            with self._span(name, parent, context):
                answered: bytes = await unary(asked, context)
                return answered

        return grpc.unary_unary_rpc_method_handler(answer)

    @contextmanager
    def _span(self, name: str, parent: TraceContext, context: "Context") -> Iterator[None]:
        service, _, method = name.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        with self._tracing.span(name, kind=SpanKind.SERVER, parent=parent, attributes=attributes) as span:
            said = CURRENT.set(span.context.header())
            try:
                yield
            finally:
                CURRENT.reset(said)
                span.note("rpc.grpc.status_code", _status(context))


def _status(context: "Context") -> int:
    """The number of a call's status; of OK where nobody has said another one, for which the library has no name."""
    said = cast("grpc.StatusCode | int", context.code())
    number: int = said.value[0] if isinstance(said, grpc.StatusCode) else grpc.StatusCode.OK.value[0]
    return number
