"""Health of the whole server: live, ready, metadata, metrics."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from millrace import __version__
from millrace.core.errors import TransientError
from millrace.process.health import PROMETHEUS_TEXT, Health
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.logic.describing import EXTENSIONS


class ServerMetadata(BaseModel):
    """What serves."""

    name: str
    version: str
    extensions: tuple[str, ...]


def health_door(health: Health, exposition: Callable[[], bytes]) -> RestDoor:
    """`/v2`, `/v2/health/live`, `/v2/health/ready`, and `/metrics` where only this port is reachable."""
    router = APIRouter(tags=["server"])

    @router.get("/v2/health/live", response_model=None)
    async def live() -> Response:
        """Whether the process turns."""
        return Response(status_code=HTTPStatus.OK)

    @router.get("/v2/health/ready", response_model=None)
    async def ready() -> Response:
        """Whether requests would be answered now."""
        condition = health.readiness
        if not condition.holds:
            raise TransientError(f"not ready: {condition.reason}")
        return Response(status_code=HTTPStatus.OK)

    @router.get("/v2")
    async def metadata() -> ServerMetadata:
        """What serves, and which extensions of the protocol it has."""
        return ServerMetadata(name="millrace", version=__version__, extensions=EXTENSIONS)

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(exposition(), media_type=PROMETHEUS_TEXT)

    return RestDoor(router)
