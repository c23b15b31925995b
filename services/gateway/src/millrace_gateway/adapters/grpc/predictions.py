"""Predictions out, over gRPC: `millrace.v1.Predictions`."""

from typing import TYPE_CHECKING, Final

import grpc
from pydantic import ValidationError

from millrace.process.refusal import refusal
from millrace.telemetry.streams import Transport
from millrace_gateway.adapters.grpc.doors import Calls, service
from millrace_gateway.adapters.grpc.generated import predictions_pb2 as messages
from millrace_gateway.adapters.prediction_streams import PredictionStreams
from millrace_gateway.adapters.subscriptions import Portion
from millrace_gateway.adapters.wanted import Wanted

if TYPE_CHECKING:
    from millrace_gateway.adapters.grpc.doors import Context

SERVICE: Final = "millrace.v1.Predictions"


def predictions_service(streams: PredictionStreams, calls: Calls) -> grpc.GenericRpcHandler:
    """One call, `Subscribe`, which ends only by its client, its deadline, or an error."""

    async def subscribe(asked: messages.SubscribeRequest, context: "Context") -> None:
        async def send(portion: Portion) -> None:
            for event in portion.events:
                await write(messages.PredictionEvent(id=event.id, prediction=event.prediction.text))
            if not portion.events:
                await write(messages.PredictionEvent(id=portion.id))

        async def write(event: messages.PredictionEvent) -> None:
            await context.write(event.SerializeToString())

        async with await streams.subscribe(asked.deployment, _wanted(asked)) as subscription:
            await write(messages.PredictionEvent(id=subscription.id, deleted=subscription.deleted))
            raise await streams.streaming(Transport.GRPC).run(subscription, send)

    return service(SERVICE, {"Subscribe": calls.feed(messages.SubscribeRequest, subscribe)})


def _wanted(asked: messages.SubscribeRequest) -> Wanted:
    try:
        return Wanted.model_validate(
            {
                "start": asked.start or "latest",
                "key": list(asked.keys),
                "version": asked.version or None,
                "class": asked.class_name or None,
                "min_score": asked.min_score if asked.HasField("min_score") else None,
                "max_score": asked.max_score if asked.HasField("max_score") else None,
            }
        )
    except ValidationError as error:
        raise refusal(error, subject="the request") from None
