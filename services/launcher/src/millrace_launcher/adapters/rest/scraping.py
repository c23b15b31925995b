"""Metrics of the daemon and of what it runs, handed on to whoever may look."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import httpx

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError, TransientError
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.discovery import METRICS_PATH, TargetGroup, target_groups
from millrace_launcher.logic.kinds import READY, Kind
from millrace_launcher.logic.ports import Runner

_PATIENCE_SECS: Final = 3.0


class Scraping:
    """Answers Prometheus for one daemon. Shared by threads; close it, or use it in a `with`.

    Args:
        view: The fleet.
        kinds: The kinds of process, by name.
        runner: This node's processes.
        node: This node's name.
        token: What other nodes want to be shown.
        own: The daemon's own metrics, in Prometheus' text format.
    """

    def __init__(
        self,
        view: FleetView,
        kinds: Mapping[str, Kind],
        runner: Runner,
        *,
        node: str,
        token: str,
        own: Callable[[], bytes],
    ) -> None:
        self._view = view
        self._kinds = frozenset(kind.name for kind in kinds.values() if kind.ready == READY)
        self._runner = runner
        self._node = node
        self._token = token
        self._own = own
        self._client = httpx.Client(timeout=_PATIENCE_SECS, trust_env=False)

    def service_discovery(self) -> list[TargetGroup]:
        """All daemons and all processes that serve metrics, as Prometheus wants to read them."""
        return target_groups(self._view.heartbeats(), self._view.processes().values(), kinds=self._kinds)

    def metrics(self, slot: Slot | None) -> bytes:
        """The metrics of a slot's process, from whichever node it runs on; the daemon's own for None.

        Raises:
            RequestError: No such process runs.
            TransientError: It does not answer.
        """
        if slot is None:
            return self._own()
        assignment = self._view.assignments().get(slot)
        node = self._node if assignment is None or assignment.node is None else assignment.node
        if node == self._node:
            return self._read(f"{self._local(slot)}/metrics", slot)
        heartbeat = self._view.heartbeat(node)
        if heartbeat is None:
            raise RequestError(f"{slot} is on node {node}, which is gone", remedy="bring the node back")
        return self._read(
            f"{heartbeat.url}{METRICS_PATH}?slot={slot}", slot, headers={"Authorization": f"Bearer {self._token}"}
        )

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _local(self, slot: Slot) -> str:
        # What the runner says and not the log: a record there must not send this daemon to any other address.
        for each in self._runner.processes():
            if each.slot == slot and each.url and not each.has_ended and slot.kind in self._kinds:
                return each.url
        raise RequestError(f"no process of {slot} serves metrics here", remedy="see `millrace processes`")

    def _read(self, url: str, slot: Slot, *, headers: Mapping[str, str] | None = None) -> bytes:
        try:
            return self._client.get(url, headers=headers).raise_for_status().content
        except httpx.HTTPError as error:
            raise TransientError(f"the metrics of {slot} are at {url}, which does not give them: {error}") from error
