"""The door of inference over gRPC: `inference.GRPCInferenceService` of the Open Inference Protocol."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

import grpc
from google.protobuf.json_format import ParseDict

from millrace import __version__
from millrace.core.control.keys import Role
from millrace.core.errors import MillraceError
from millrace.process.health import Health
from millrace_gateway.adapters.answering import Answering
from millrace_gateway.adapters.grpc.doors import Calls, service
from millrace_gateway.adapters.grpc.generated import inference_pb2 as messages
from millrace_gateway.adapters.grpc.tensors import read_ask, write_answer
from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.served import Served
from millrace_gateway.logic.describing import EXTENSIONS, describe_config, describe_model, describe_statistics
from millrace_gateway.logic.errors import NotFoundError

if TYPE_CHECKING:
    from millrace_gateway.adapters.grpc.doors import Context

SERVICE: Final = "inference.GRPCInferenceService"


def inference_service(
    answering: Answering, repository: Repository, health: Health, calls: Calls, *, elements: int
) -> grpc.GenericRpcHandler:
    """Health, metadata, inference, configuration, statistics and the repository."""
    servicer = _Servicer(answering, repository, health, elements)
    return service(
        SERVICE,
        {
            "ServerLive": calls.unary(messages.ServerLiveRequest, servicer.server_live),
            "ServerReady": calls.unary(messages.ServerReadyRequest, servicer.server_ready),
            "ServerMetadata": calls.unary(messages.ServerMetadataRequest, servicer.server_metadata),
            "ModelReady": calls.unary(messages.ModelReadyRequest, servicer.model_ready),
            "ModelMetadata": calls.unary(messages.ModelMetadataRequest, servicer.model_metadata),
            "ModelInfer": calls.unary(messages.ModelInferRequest, servicer.infer),
            "ModelStreamInfer": calls.streams(messages.ModelInferRequest, servicer.infer_in_stream),
            "ModelConfig": calls.unary(messages.ModelConfigRequest, servicer.model_config),
            "ModelStatistics": calls.unary(messages.ModelStatisticsRequest, servicer.model_statistics),
            "RepositoryIndex": calls.unary(messages.RepositoryIndexRequest, servicer.index),
            "RepositoryModelLoad": calls.unary(messages.RepositoryModelLoadRequest, servicer.load, Role.OPERATOR),
            "RepositoryModelUnload": calls.unary(messages.RepositoryModelUnloadRequest, servicer.unload, Role.OPERATOR),
        },
    )


class _Servicer:
    """The calls, one method each: a message in, a message out."""

    def __init__(self, answering: Answering, repository: Repository, health: Health, elements: int) -> None:
        self._answering = answering
        self._repository = repository
        self._health = health
        self._elements = elements

    async def server_live(self, asked: messages.ServerLiveRequest, context: "Context") -> messages.ServerLiveResponse:
        return messages.ServerLiveResponse(live=self._health.liveness.holds)

    async def server_ready(
        self, asked: messages.ServerReadyRequest, context: "Context"
    ) -> messages.ServerReadyResponse:
        return messages.ServerReadyResponse(ready=self._health.readiness.holds)

    async def server_metadata(
        self, asked: messages.ServerMetadataRequest, context: "Context"
    ) -> messages.ServerMetadataResponse:
        return messages.ServerMetadataResponse(name="millrace", version=__version__, extensions=EXTENSIONS)

    async def model_ready(self, asked: messages.ModelReadyRequest, context: "Context") -> messages.ModelReadyResponse:
        try:
            await self._repository.find(asked.name, asked.version)
        except NotFoundError:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    async def model_metadata(
        self, asked: messages.ModelMetadataRequest, context: "Context"
    ) -> messages.ModelMetadataResponse:
        served = await self._repository.find(asked.name, asked.version)
        versions = self._repository.version_numbers(served)
        described = describe_model(asked.name, versions, served.deployment, served.model, asked=served.asked)
        return ParseDict(described, messages.ModelMetadataResponse())

    async def infer(self, asked: messages.ModelInferRequest, context: "Context") -> messages.ModelInferResponse:
        remaining = cast("float | None", context.time_remaining())  # the stubs know no call without a deadline
        left = None if remaining is None else timedelta(seconds=max(0.0, min(remaining, 1e6)))
        ask = read_ask(asked, elements=self._elements, left=left)
        return write_answer(await self._answering.answer(ask), asked=asked)

    async def infer_in_stream(
        self, asked: messages.ModelInferRequest, context: "Context"
    ) -> messages.ModelStreamInferResponse:
        """An error belongs to its request: the stream goes on."""
        try:
            return messages.ModelStreamInferResponse(infer_response=await self.infer(asked, context))
        except MillraceError as error:
            # The client finds by the id which of its requests failed.
            failed = messages.ModelInferResponse(model_name=asked.model_name, id=asked.id)
            return messages.ModelStreamInferResponse(error_message=str(error), infer_response=failed)

    async def model_config(
        self, asked: messages.ModelConfigRequest, context: "Context"
    ) -> messages.ModelConfigResponse:
        served = await self._repository.find(asked.name, asked.version)
        config = describe_config(asked.name, served.deployment, served.model, asked=served.asked)
        return ParseDict({"config": config}, messages.ModelConfigResponse())

    async def model_statistics(
        self, asked: messages.ModelStatisticsRequest, context: "Context"
    ) -> messages.ModelStatisticsResponse:
        if not asked.name:
            found = [_statistics(served.entry.name, served) for served in self._repository.all_served()]
        else:
            found = [_statistics(asked.name, await self._repository.find(asked.name, asked.version))]
        return ParseDict({"model_stats": found}, messages.ModelStatisticsResponse())

    async def index(
        self, asked: messages.RepositoryIndexRequest, context: "Context"
    ) -> messages.RepositoryIndexResponse:
        answer = messages.RepositoryIndexResponse()
        for entry in self._repository.index():
            if entry.is_ready or not asked.ready:
                answer.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return answer

    async def load(
        self, asked: messages.RepositoryModelLoadRequest, context: "Context"
    ) -> messages.RepositoryModelLoadResponse:
        await self._repository.load(asked.model_name)
        return messages.RepositoryModelLoadResponse()

    async def unload(
        self, asked: messages.RepositoryModelUnloadRequest, context: "Context"
    ) -> messages.RepositoryModelUnloadResponse:
        self._repository.unload(asked.model_name)
        return messages.RepositoryModelUnloadResponse()


def _statistics(name: str, served: Served) -> dict[str, object]:
    return describe_statistics(name, str(served.entry.version), served.statistics)
