"""The door of inference over HTTP: `/v2/models/...` of the Open Inference Protocol.

Most requests to infer never come here: `millrace_gateway.adapters.rest.direct`.
"""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from millrace_gateway.adapters.answering import Answering
from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.rest.bodies import BodyLimits, read_body
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.adapters.rest.inference_schema import PATHS, SCHEMAS
from millrace_gateway.adapters.rest.refusals import JSON
from millrace_gateway.adapters.rest.tensors import HEADER_LENGTH, OCTETS, TensorLimits, read_ask, write_answer
from millrace_gateway.adapters.served import Served
from millrace_gateway.logic.describing import describe_config, describe_model, describe_statistics

_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/v2/models/{model}/versions/{version}"


def inference_door(answering: Answering, repository: Repository, limits: BodyLimits, tensors: TensorLimits) -> RestDoor:
    """Infer, metadata, readiness, configuration and statistics, of models and of versions."""
    router = APIRouter(tags=["models"])

    @router.get("/v2/models/stats")
    async def all_statistics() -> dict[str, Any]:
        """What every loaded version has done."""
        return {"model_stats": [_statistics(served.entry.name, served) for served in repository.all_served()]}

    async def infer(request: Request) -> Response:
        body = await read_body(request, limit_bytes=limits.size_bytes, within=limits.within)
        path = request.path_params
        ask, form = read_ask(
            body,
            header_length=request.headers.get(HEADER_LENGTH),
            model=path["model"],
            version=path.get("version", ""),
            limits=tensors,
        )
        content, head = write_answer(await answering.answer(ask), form)
        if head is None:
            return Response(content, media_type=JSON)
        return Response(content, media_type=OCTETS, headers={HEADER_LENGTH: str(head)})

    router.add_route(f"{_MODEL}/infer", infer, methods=["POST"], include_in_schema=False)
    router.add_route(f"{_VERSION}/infer", infer, methods=["POST"], include_in_schema=False)

    @router.get(_MODEL)
    @router.get(_VERSION)
    async def metadata(model: str, version: str = "") -> dict[str, Any]:
        """Inputs and outputs of a model."""
        served = await repository.find(model, version)
        return describe_model(
            model, repository.version_numbers(served), served.deployment, served.model, asked=served.asked
        )

    @router.get(f"{_MODEL}/ready", response_model=None)
    @router.get(f"{_VERSION}/ready", response_model=None)
    async def ready(model: str, version: str = "") -> Response:
        """Whether the model would answer now."""
        await repository.find(model, version)
        return Response()

    @router.get(f"{_MODEL}/config")
    @router.get(f"{_VERSION}/config")
    async def config(model: str, version: str = "") -> dict[str, Any]:
        """How the model is served, as Triton's clients want to read it."""
        served = await repository.find(model, version)
        return describe_config(model, served.deployment, served.model, asked=served.asked)

    @router.get(f"{_MODEL}/stats")
    @router.get(f"{_VERSION}/stats")
    async def statistics(model: str, version: str = "") -> dict[str, Any]:
        """What the model has done since it was loaded."""
        return {"model_stats": [_statistics(model, await repository.find(model, version))]}

    return RestDoor(router, PATHS, SCHEMAS)


def _statistics(name: str, served: Served) -> dict[str, Any]:
    return describe_statistics(name, str(served.entry.version), served.statistics)
