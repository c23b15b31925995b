"""Events and labels in, over HTTP."""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, StringConstraints

from millrace.core.clock import Clock
from millrace.core.errors import RequestError
from millrace.kafka.admin import Admin
from millrace.telemetry.metrics import Instruments
from millrace.telemetry.streams import WRITTEN
from millrace.telemetry.traces import CURRENT, with_traceparent
from millrace_gateway.adapters.depositing import Depositor
from millrace_gateway.adapters.incoming import (
    ARROW,
    JSON,
    JSON_LINES,
    Incoming,
    IncomingLimits,
    Target,
    read_events,
    read_labels,
)
from millrace_gateway.adapters.rest.bodies import read_body
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.logic.errors import NotFoundError
from millrace_gateway.settings import Limits

Stream = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
KeyField = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r'^[^"\\\x00-\x1f]+$')]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=200)]

_TOPICS: Final = {"events": "features", "labels": "labels"}
_REMEMBER: Final = timedelta(seconds=30)
_REMEMBERED: Final = 1_000
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}},
            JSON_LINES: {"schema": {"type": "string"}},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Written(BaseModel):
    """Where what was sent lies."""

    topic: str
    coordinates: list[str]
    """Of each event or label in the order in which they were sent: TOPIC-PARTITION-OFFSET, with `.ROW` in Arrow."""


@dataclass(slots=True)
class Topics:
    """How many partitions topics have, remembered for a while.

    Attributes:
        admin: Asks the cluster.
        clock: Tells how long ago that was.
    """

    admin: Admin
    clock: Clock
    _known: dict[str, tuple[int, float]] = field(default_factory=dict)

    async def partitions(self, topic: str) -> int:
        """Partitions of a topic.

        Raises:
            NotFoundError: There is no such topic.
            TransientError: No broker answers.
        """
        count, asked_at = self._known.get(topic, (0, 0.0))
        if not count or self.clock.monotonic() - asked_at > _REMEMBER.total_seconds():
            try:
                count = (await asyncio.to_thread(self.admin.partition_counts, [topic]))[topic]
            except RequestError as error:
                raise NotFoundError(f"there is no topic {topic!r}", remedy="create it, or check the name") from error
            if len(self._known) >= _REMEMBERED:
                self._known = {}
            self._known = {**self._known, topic: (count, self.clock.monotonic())}
        return count


@dataclass(frozen=True, slots=True)
class StreamIntake:
    """What the routes stand on.

    Attributes:
        topics: Knows the topics.
        depositor: Writes.
        limits: Bounds of requests.
        instruments: Where it is counted.
        turns: Counts up, so that requests without keys are spread over partitions.
    """

    topics: Topics
    depositor: Depositor
    limits: Limits
    instruments: Instruments
    turns: Iterator[int] = field(default_factory=itertools.count)

    async def take(
        self,
        request: Request,
        stream: str,
        what: str,
        read: Callable[[bytes, str, Target, IncomingLimits], Incoming],
        *,
        key_field: str | None,
        idempotency_key: str | None,
    ) -> Written:
        """Read a request's body, write it, and say where it lies. `what` is the name of the metric's label."""
        limits = self.limits
        topic = f"{stream}.{_TOPICS[what]}"
        content_type = request.headers.get("content-type", "")
        within = timedelta(seconds=limits.body_secs)
        body = await read_body(request, limit_bytes=limits.body_bytes, within=within)
        partitions = await self.topics.partitions(topic)
        target = Target(topic, partitions, next(self.turns) % partitions, key_field)
        digest = _digest(f"{content_type}\n{key_field}\n{partitions}\n", body)
        if idempotency_key is not None:  # a repetition must make the same records of the same body
            target = Target(topic, partitions, int(digest[-8:], 16) % partitions, key_field)
        incoming = await asyncio.to_thread(read, body, content_type, target, IncomingLimits())
        traceparent = CURRENT.get()
        placed = await self.depositor.deposit(
            incoming.batch if traceparent is None else with_traceparent(incoming.batch, traceparent),
            key=None if idempotency_key is None else f"{topic}/{idempotency_key}",
            digest=digest,
            within=timedelta(seconds=limits.request_secs),
        )
        coordinates = incoming.coordinates(placed.partitions, placed.offsets)
        self.instruments.add(WRITTEN, len(coordinates), what=what)
        return Written(topic=topic, coordinates=coordinates)


def streams_door(intake: StreamIntake) -> RestDoor:
    """`POST /v1/streams/{stream}/events` and `/v1/streams/{stream}/labels`."""
    router = APIRouter(tags=["streams"])

    @router.post("/v1/streams/{stream}/events", openapi_extra=_BODY)
    async def events(
        request: Request,
        stream: Annotated[Stream, Path()],
        key_field: Annotated[KeyField | None, Query()] = None,
        idempotency_key: Annotated[IdempotencyKey | None, Header()] = None,
    ) -> Written:
        """Send feature records to `<stream>.features`; answered when the broker has acknowledged them.

        With an `Idempotency-Key` they are written once, however often the request is repeated within a day.
        """
        return await intake.take(
            request, stream, "events", read_events, key_field=key_field, idempotency_key=idempotency_key
        )

    @router.post("/v1/streams/{stream}/labels", openapi_extra=_BODY)
    async def labels(
        request: Request,
        stream: Annotated[Stream, Path()],
        key_field: Annotated[KeyField | None, Query()] = None,
        idempotency_key: Annotated[IdempotencyKey | None, Header()] = None,
    ) -> Written:
        """Send the truth about events to `<stream>.labels`, each to the partition number of its event."""
        return await intake.take(
            request, stream, "labels", read_labels, key_field=key_field, idempotency_key=idempotency_key
        )

    return RestDoor(router)


def _digest(manner: str, body: bytes) -> str:
    """Of all that decides which records are made."""
    said = hashlib.sha256(manner.encode())
    said.update(body)
    return f"sha256:{said.hexdigest()}"
