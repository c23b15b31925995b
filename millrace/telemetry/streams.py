"""The metrics of a gateway's streams: events and labels in, predictions out."""

from enum import StrEnum
from typing import Final

from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit


class Transport(StrEnum):
    """How predictions reach a subscriber."""

    SSE = "sse"
    WEBSOCKET = "websocket"
    GRPC = "grpc"


class DropReason(StrEnum):
    """Why the gateway ended a subscription that its client had not ended."""

    OVERTAKEN = "overtaken"
    """It read so slowly that what it would get next is no longer held."""
    STALLED = "stalled"
    """It took nothing for longer than it may."""
    FAILED = "failed"
    """The topic cannot be read on."""


SUBSCRIBERS: Final = MetricSpec(
    "gateway",
    "active",
    Unit.SUBSCRIBERS,
    Kind.GAUGE,
    "Subscribers to predictions, by how they are reached.",
    (Label("transport", tuple(Transport)),),
)
CATCHING_UP: Final = MetricSpec(
    "gateway",
    "catching_up",
    Unit.SUBSCRIBERS,
    Kind.GAUGE,
    "Subscribers that still read the past with a consumer of their own.",
)
DROPPED: Final = MetricSpec(
    "gateway",
    "dropped",
    Unit.SUBSCRIBERS,
    Kind.COUNTER,
    "Subscribers that the gateway dropped; each may begin again where it was.",
    (Label("reason", tuple(DropReason)),),
)
SENT: Final = MetricSpec(
    "gateway",
    "streamed",
    Unit.RECORDS,
    Kind.COUNTER,
    "Predictions sent to subscribers, once for each subscriber.",
    (Label("transport", tuple(Transport)),),
)
READ: Final = MetricSpec(
    "gateway", "followed", Unit.RECORDS, Kind.COUNTER, "Predictions read by the consumers that subscribers share."
)
INVALID: Final = MetricSpec(
    "gateway", "passed_over", Unit.RECORDS, Kind.COUNTER, "Records in predictions topics that are no predictions."
)
HELD: Final = MetricSpec(
    "gateway", "held_predictions", Unit.BYTES, Kind.GAUGE, "Newest predictions held for subscribers, of all topics."
)

WRITTEN: Final = MetricSpec(
    "gateway",
    "written",
    Unit.RECORDS,
    Kind.COUNTER,
    "Events and labels that the broker has acknowledged; rows, where a record carries many. A repetition counts again.",
    (Label("what", ("events", "labels")),),
)

STREAMS: Final = (WRITTEN, SUBSCRIBERS, CATCHING_UP, DROPPED, SENT, READ, INVALID, HELD)
"""Every metric of streams; part of the gateway's."""
