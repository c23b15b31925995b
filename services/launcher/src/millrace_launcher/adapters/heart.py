"""The heart of a node: says every second that it is there, and lets its processes run on while it is heard."""

import os
import platform
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from millrace.core.clock import Clock
from millrace.core.control.fleet import Heartbeat, Inventory, Latencies, NodeState
from millrace.core.errors import TransientError
from millrace.process.health import Health
from millrace_launcher.adapters.place import NodeFolder, boot_seconds
from millrace_launcher.adapters.reporting import Reporter

log = structlog.get_logger()


@dataclass(slots=True)
class Heart:
    """Beats for one node. Its `beat` is called by one thread; `state`, `decides` and `latencies` may be set by others.

    Attributes:
        folder: Where the lease lies.
        reporter: Tells the others.
        inventory: What the node has.
        url: Where its REST API is.
        epoch: When this daemon started, milliseconds since 1970.
        lease: How long its processes run on when it is not heard.
        clock: The system's.
        health: Whether the daemon's main loop turns.
        state: What it says about itself.
        decides: Whether it says that it is the controller.
        latencies: What it says of its scorers.
        is_heard: Whether the last beat was acknowledged.
    """

    folder: NodeFolder
    reporter: Reporter
    inventory: Inventory
    url: str
    epoch: int
    lease: timedelta
    clock: Clock
    health: Health
    state: NodeState = NodeState.UP
    decides: bool = False
    latencies: tuple[Latencies, ...] = ()
    is_heard: bool = field(default=False, init=False)

    def beat(self) -> None:
        """Say that the node is there; when that is acknowledged, its processes may run on.

        A daemon that hangs tends nothing: its heart stands still, so that its processes end with the lease and run
        where somebody looks after them.

        Raises:
            FatalError: The broker refuses this client.
        """
        if not (live := self.health.liveness).holds:
            log.error("the daemon hangs; its processes end with its lease", why=live.reason)
            self.is_heard = False
            return
        sent = boot_seconds()
        heartbeat = Heartbeat(
            node=self.folder.node,
            epoch=self.epoch,
            at_ms=self.clock.wall_ms(),
            lease_ms=int(self.lease / timedelta(milliseconds=1)),
            state=self.state,
            url=self.url,
            host=platform.node(),
            pid=os.getpid(),
            inventory=self.inventory,
            decides=self.decides,
            latencies=self.latencies,
        )
        try:
            self.reporter.beat(heartbeat)
        except TransientError as error:
            log.warning("the node is not heard; its processes end with its lease", why=error.message)
            self.is_heard = False
            return
        self.folder.renew(sent, self.lease)
        self.is_heard = True
