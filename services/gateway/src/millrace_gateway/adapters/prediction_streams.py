"""Predictions out, whatever the protocol: what the doors stand on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from millrace.core.clock import Clock
from millrace.telemetry.metrics import Instruments
from millrace.telemetry.streams import Transport
from millrace_gateway.adapters.streaming import Streaming
from millrace_gateway.adapters.subscriptions import Hub, Subscription
from millrace_gateway.adapters.wanted import Wanted


@dataclass(frozen=True, slots=True)
class PredictionStreams:
    """What all protocols stand on.

    Attributes:
        hub: Where subscribers are.
        topics: Topic of predictions by deployment, where it is another than `<deployment>.predictions`.
        instruments: Where it is counted.
        clock: Tells the time.
    """

    hub: Hub
    topics: Mapping[str, str]
    instruments: Instruments
    clock: Clock

    async def subscribe(self, deployment: str, wanted: Wanted, last_event_id: str | None = None) -> Subscription:
        """A subscription to a deployment's predictions; raises as `Hub.subscribe`, and for what `wanted` refuses."""
        start = wanted.begin(last_event_id, now=datetime.fromtimestamp(self.clock.wall_ms() / 1000, UTC))
        topic = self.topics.get(deployment, f"{deployment}.predictions")
        return await self.hub.subscribe(topic, start, wanted.selection())

    def streaming(self, transport: Transport) -> Streaming:
        """How subscribers of a protocol are served."""
        return Streaming(transport, self.instruments, self.hub.options.stall_secs)
