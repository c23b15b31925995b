"""The model repository extension over HTTP: which versions there are, load, unload."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from millrace.core.errors import RequestError
from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.rest.bodies import BodyLimits, read_body
from millrace_gateway.adapters.rest.doors import RestDoor


class _Wanted(msgspec.Struct):
    ready: bool = False


_decode: Final = msgspec.json.Decoder(_Wanted).decode


def repository_door(repository: Repository, limits: BodyLimits) -> RestDoor:
    """`/v2/repository/...`."""
    router = APIRouter(prefix="/v2/repository", tags=["repository"])

    @router.post("/index")
    async def index(request: Request) -> list[dict[str, Any]]:
        """Every version of the served deployments' models; with `{"ready": true}` only those that are loaded."""
        only_ready = await _wants_only_ready(request, limits)
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


async def _wants_only_ready(request: Request, limits: BodyLimits) -> bool:
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return False
    body = await read_body(request, limit_bytes=limits.size_bytes, within=limits.within)
    try:
        return _decode(body).ready
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body says not which models: {error}", remedy='send {"ready": true}') from None
