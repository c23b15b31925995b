"""Whether a node may be counted on, from how long it was silent."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from millrace.core.control.fleet import Heartbeat, NodeState, Standing

BEAT: Final = timedelta(seconds=1)
"""How often a node says that it is there."""

SILENT: Final = timedelta(seconds=3)
"""A node that was silent for this long gets nothing new."""

MARGIN: Final = timedelta(seconds=3)
"""A node that was silent for longer than its lease and this runs nothing any more: it had time to end what it ran."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A node's latest heartbeat.

    Attributes:
        heartbeat: What it said.
        silence: How long ago that was heard, by the clock of who listens; clocks of machines are not compared.
        is_live: Whether it was heard when it was said, and not read from the past.
    """

    heartbeat: Heartbeat
    silence: timedelta
    is_live: bool


def standing(heard: Heard) -> Standing:
    """Whether the node may be counted on."""
    lease = timedelta(milliseconds=heard.heartbeat.lease_ms)
    if heard.heartbeat.state is NodeState.LEFT or heard.silence > lease + MARGIN:
        return Standing.LOST
    if heard.heartbeat.state is NodeState.LEAVING:
        return Standing.LEAVING
    return Standing.UP if heard.is_live and heard.silence <= SILENT else Standing.SILENT
