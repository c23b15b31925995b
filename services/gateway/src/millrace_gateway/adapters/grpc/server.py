"""gRPC on a port that several gateways of one machine may share, with the standard health service."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from millrace.core.errors import RequestError
from millrace.process.tls import ServerTls
from millrace_gateway.adapters.patience import Patience
from millrace_gateway.settings import Grpc, Limits

_LONG: Final = timedelta(days=1)
"""Patience decides when the wait ends, and the library wants a number."""


class GrpcServer:
    """Serves handlers over gRPC while inside `async with`.

    Leaving waits for calls that are being answered; those that outlast patience are ended.

    Args:
        handlers: One of each door.
        address: Where to listen.
        limits: Bounds of a request.
        patience: Ends the wait for calls that are being answered.
        tls: The certificate to show; None speaks in clear.
        interceptors: What stands before every call.

    Raises:
        RequestError: The address is in use by something else, or not this machine's; or the certificate is none. Raised
            on entering.
    """

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        address: Grpc,
        limits: Limits,
        *,
        patience: Patience,
        tls: ServerTls | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._address = address
        self._tls = tls
        self._patience = patience
        self._handlers = handlers
        self._limits = limits
        self._interceptors = interceptors
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"{self._address.host}:{self._port}"

    async def set_ready(self, services: Sequence[str], *, ready: bool) -> None:
        """Let the health service say of these services, and of the whole server, whether they are ready."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *services):
            await self._health.set(service, status)

    async def __aenter__(self) -> Self:
        options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.absolute_max_metadata_size", self._limits.head_bytes),
        )
        self._server = grpc.aio.server(
            options=options, maximum_concurrent_rpcs=self._limits.connections, interceptors=self._interceptors
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(tuple(self._handlers))
        where = f"{self._address.host}:{self._address.port}"
        try:
            self._port = self._bind(where)
        except RuntimeError as error:
            raise RequestError(
                f"gRPC cannot be served on {where}: {error}",
                remedy="set MILLRACE_GATEWAY__GRPC__PORT to a free port, or to 0 for any",
            ) from None
        await self._server.start()
        return self

    def _bind(self, where: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(where)
        texts = self._tls.texts()
        credentials = grpc.ssl_server_credentials(
            [(texts.key, texts.certificate)],
            root_certificates=texts.client_ca,
            require_client_auth=texts.client_ca is not None,
        )
        return self._server.add_secure_port(where, credentials)

    async def __aexit__(self, *_: object) -> None:
        stopping = asyncio.create_task(self._server.stop(_LONG.total_seconds()))
        if not await self._patience.covers(stopping):
            await self._server.stop(None)
            await stopping
