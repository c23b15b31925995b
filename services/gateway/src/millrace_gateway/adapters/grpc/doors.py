"""How a door over gRPC is made of functions on messages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from millrace.core.control.keys import Role
from millrace.core.errors import MillraceError, RequestError
from millrace_gateway.adapters.entrance import Entrance
from millrace_gateway.adapters.grpc.refusals import refuse, status_of

if TYPE_CHECKING:
    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

Asked = TypeVar("Asked", bound=Message)

Observe: TypeAlias = Callable[[str], None]
"""Told the name of the status with which a call ended."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes the handlers of calls.

    Bytes that are no message end in INVALID_ARGUMENT, as any other error of the client does, and errors of
    `MillraceError` in the status that `refusals` has for them.

    Attributes:
        entrance: Lets calls in, by the metadata that are headers over HTTP.
        observe: Told of every call that ended.
    """

    entrance: Entrance
    observe: Observe

    def unary(
        self,
        kind: type[Asked],
        handle: "Callable[[Asked, Context], Awaitable[Message]]",
        needs: Role = Role.VIEWER,
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A call of one message and one answer, and the role that it takes."""

        async def call(content: bytes, context: "Context") -> bytes:
            try:
                self._admit(context, needs)
                answer = await handle(_parse(kind, content), context)
            except MillraceError as error:
                self.observe(status_of(error).name)
                await refuse(context, error)
            self.observe(grpc.StatusCode.OK.name)
            return answer.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(call)

    def streams(
        self, kind: type[Asked], handle: "Callable[[Asked, Context], Awaitable[Message]]"
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A call of many messages, each with its answer, in order."""

        async def call(contents: AsyncIterator[bytes], context: "Context") -> AsyncIterator[bytes]:
            try:
                async for content in contents:
                    self._admit(context, Role.VIEWER)
                    answer = await handle(_parse(kind, content), context)
                    yield answer.SerializeToString()
            except MillraceError as error:
                self.observe(status_of(error).name)
                await refuse(context, error)
            self.observe(grpc.StatusCode.OK.name)

        return grpc.stream_stream_rpc_method_handler(call)

    def feed(
        self, kind: type[Asked], handle: "Callable[[Asked, Context], Awaitable[None]]"
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A call of one message and as many answers as the handler writes to the context."""

        async def call(content: bytes, context: "Context") -> None:
            try:
                self._admit(context, Role.VIEWER)
                await handle(_parse(kind, content), context)
            except MillraceError as error:
                self.observe(status_of(error).name)
                await refuse(context, error)
            self.observe(grpc.StatusCode.OK.name)

        return grpc.unary_stream_rpc_method_handler(call)

    def _admit(self, context: "Context", needs: Role) -> None:
        if self.entrance.is_open:
            return
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        self.entrance.check(metadata, context.peer().rpartition(":")[0], needs)


def service(name: str, calls: "Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]") -> grpc.GenericRpcHandler:
    """A service of calls by name; a call that it does not have is UNIMPLEMENTED."""
    return grpc.method_handlers_generic_handler(name, dict(calls))


def _parse(kind: type[Asked], content: bytes) -> Asked:
    try:
        return kind.FromString(content)
    except DecodeError:
        raise RequestError(f"the bytes are no {kind.DESCRIPTOR.full_name}", remedy="send that message") from None
