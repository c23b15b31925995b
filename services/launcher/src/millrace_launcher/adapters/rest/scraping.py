"""Metrics of the daemon and of what it runs, handed on to whoever may look."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError
from millrace_launcher.adapters.expositions import Expositions
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.discovery import TargetGroup, target_groups
from millrace_launcher.logic.kinds import READY, Kind
from millrace_launcher.logic.ports import Runner, Running

_PATIENCE: Final = timedelta(seconds=3)


class Scraping:
    """Answers Prometheus for one daemon. Shared by threads.

    Args:
        view: The fleet.
        kinds: The kinds of process, by name.
        runner: This node's processes.
        expositions: Asks them.
        node: This node's name.
        token: What other nodes want to be shown.
        own: The daemon's own metrics, in Prometheus' text format.
    """

    def __init__(
        self,
        view: FleetView,
        kinds: Mapping[str, Kind],
        runner: Runner,
        expositions: Expositions,
        *,
        node: str,
        token: str,
        own: Callable[[], bytes],
    ) -> None:
        self._view = view
        self._kinds = frozenset(kind.name for kind in kinds.values() if kind.ready == READY)
        self._runner = runner
        self._expositions = expositions
        self._node = node
        self._token = token
        self._own = own

    def service_discovery(self) -> list[TargetGroup]:
        """All daemons and all processes that serve metrics, as Prometheus wants to read them."""
        return target_groups(self._view.heartbeats(), self._view.processes().values(), kinds=self._kinds)

    def metrics(self, slot: Slot | None) -> str:
        """The metrics of a slot's process, from whichever node it runs on; the daemon's own for None.

        Raises:
            RequestError: No such process runs.
            TransientError: It does not answer.
        """
        if slot is None:
            return self._own().decode()
        assignment = self._view.assignments().get(slot)
        node = self._node if assignment is None or assignment.node is None else assignment.node
        if node == self._node:
            return self._expositions.of(self._local(slot), within=_PATIENCE)
        heartbeat = self._view.heartbeat(node)
        if heartbeat is None:
            raise RequestError(f"{slot} is on node {node}, which is gone", remedy="bring the node back")
        return self._expositions.by(heartbeat.url, slot, token=self._token, within=_PATIENCE)

    def _local(self, slot: Slot) -> Running:
        # What the runner says and not the log: a record there must not send this daemon to any other address.
        for each in self._runner.processes():
            if each.slot == slot and each.url and not each.has_ended and slot.kind in self._kinds:
                return each
        raise RequestError(f"no process of {slot} serves metrics here", remedy="see `millrace processes`")
