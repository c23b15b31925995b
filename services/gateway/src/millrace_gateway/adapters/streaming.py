"""From a subscription to its client: portion by portion, counted, and never longer than a client may take."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from millrace.core.errors import MillraceError, TransientError
from millrace.telemetry import streams as metrics
from millrace.telemetry.metrics import Instruments
from millrace_gateway.adapters.subscriptions import Portion, Subscription
from millrace_gateway.logic.recent import OvertakenError

SendPortion: TypeAlias = Callable[[Portion], Awaitable[None]]
"""Sends a portion; returns when the client's connection has room again."""


class StalledError(TransientError):
    """The client took nothing for longer than it may."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """How subscribers of one protocol are served.

    Attributes:
        transport: The protocol.
        instruments: Where it is counted.
        stall_secs: Longest time that a client may take to make room.
    """

    transport: metrics.Transport
    instruments: Instruments
    stall_secs: float

    async def run(self, subscription: Subscription, send: SendPortion) -> MillraceError:
        """Send what comes until it cannot go on, and return why; the subscription is closed in any case.

        Ends otherwise only by cancellation, or by what `send` raises.
        """
        self.instruments.add(metrics.SUBSCRIBERS, 1, transport=self.transport)
        try:
            async with subscription:
                while True:
                    portion = await subscription.portion()
                    async with asyncio.timeout(self.stall_secs):
                        await send(portion)
                    self.instruments.add(metrics.SENT, len(portion.events), transport=self.transport)
        except TimeoutError:
            return self._dropped(
                metrics.DropReason.STALLED,
                StalledError(f"nothing was taken for {self.stall_secs:g} s", remedy="begin again at the last id"),
            )
        except OvertakenError as error:
            return self._dropped(metrics.DropReason.OVERTAKEN, error)
        except MillraceError as error:
            return self._dropped(metrics.DropReason.FAILED, error)
        finally:
            self.instruments.add(metrics.SUBSCRIBERS, -1, transport=self.transport)

    def _dropped(self, reason: metrics.DropReason, error: MillraceError) -> MillraceError:
        self.instruments.add(metrics.DROPPED, 1, reason=reason)
        return error
