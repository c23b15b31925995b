"""Readiness, said alike on `/readyz`, over REST, over gRPC and as a metric."""

import structlog

from millrace.service import Watched
from millrace.telemetry import gateway as metrics
from millrace_gateway.adapters.grpc.inference import SERVICE
from millrace_gateway.adapters.grpc.server import GrpcServer

log = structlog.get_logger()


class Readiness:
    """Says whether requests are answered, whenever that changes. For one event loop."""

    def __init__(self, told: Watched, rpc: GrpcServer) -> None:
        self._told = told
        self._rpc = rpc
        self._said: str | None = "starting"

    async def say(self, obstacle: str | None) -> None:
        """Ready, or not ready for this reason."""
        if obstacle == self._said:
            return
        self._said = obstacle
        if obstacle is None:
            self._told.health.ready()
            log.info("ready")
        else:
            self._told.health.not_ready(obstacle)
            log.warning("not ready", reason=obstacle)
        self._told.instruments.set(metrics.READY, float(obstacle is None))
        await self._rpc.set_ready((SERVICE,), ready=obstacle is None)
