"""The node's lease where Pods can read it: the Lease of a cluster, renewed as long as the node's own holds."""

from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace_launcher.adapters.cluster import Cluster
from millrace_launcher.adapters.place import NodeFolder, boot_seconds
from millrace_launcher.adapters.repeating import Repeated

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=1)
_SHORTEST_SECS: Final = 2
_LONGEST: Final = timedelta(hours=1)


class LeaseRenewal:
    """Hands the node's lease on, on a thread of its own, until it is closed.

    Args:
        cluster: Where the Lease is.
        place: Where the node's own is.
        clock: The system's.
        longest: For no longer than this it is handed on at once.
    """

    def __init__(self, cluster: Cluster, place: NodeFolder, clock: Clock, longest: timedelta = _LONGEST) -> None:
        self._cluster, self._place, self._clock, self._longest = cluster, place, clock, longest.total_seconds()
        self._stop = Event()
        self._repeated = Repeated(self.turn, _EVERY, clock, name="lease", until=self._stop)
        self._repeated.thread.start()

    def turn(self) -> None:
        """Renew the Lease for as long as the node's own lasts: clocks of machines differ, but not what is left."""
        left = int(min(self._place.lease_end() - boot_seconds(), self._longest))
        if left < _SHORTEST_SECS:
            return
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)
        spec = {
            "holderIdentity": self._place.node,
            "leaseDurationSeconds": left,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            self._cluster.renew(lease_name(self._place.node), spec)
        except MillraceError as error:
            log.warning("the lease of Pods is not renewed", why=error.message, remedy=error.remedy)

    def close(self) -> None:
        """Stop: without a successor, the Pods end with their lease."""
        self._stop.set()
        self._repeated.thread.join()


def lease_name(node: str) -> str:
    """The name of a node's Lease."""
    return f"millrace-{node}"
