"""The model repository extension over HTTP: which versions there are, load, unload."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.rest.doors import RestDoor


class Wanted(BaseModel):
    """Which versions to list."""

    ready: bool = False
    """Only those that are loaded."""


def repository_door(repository: Repository) -> RestDoor:
    """`/v2/repository/...`."""
    router = APIRouter(prefix="/v2/repository", tags=["repository"])

    @router.post("/index")
    async def index(wanted: Wanted | None = None) -> list[dict[str, Any]]:
        """Every version of the served deployments' models."""
        only_ready = wanted is not None and wanted.ready
        return [
            {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
            for entry in repository.index()
            if entry.is_ready or not only_ready
        ]

    @router.post("/models/{model}/load", response_model=None)
    async def load(model: str) -> Response:
        """Load what a name means, even if it was unloaded."""
        await repository.load(model)
        return Response()

    @router.post("/models/{model}/unload", response_model=None)
    async def unload(model: str) -> Response:
        """Answer for this name no more, until it is loaded again."""
        repository.unload(model)
        return Response()

    return RestDoor(router)
