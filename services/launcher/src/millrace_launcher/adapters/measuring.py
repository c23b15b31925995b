"""How late the predictions of this node's scorers are, asked of each every second."""

from datetime import timedelta
from typing import Final

from millrace.core.control.fleet import Latencies, Slot
from millrace.core.errors import TransientError
from millrace_launcher.adapters.expositions import Expositions
from millrace_launcher.adapters.heart import Heart
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.observing import SCORER, latency_counts
from millrace_launcher.logic.ports import Runner, Running

_PATIENCE: Final = timedelta(milliseconds=500)


class Meter:
    """Asks the scorers of this node whose number follows the load, and lets the heart tell everybody.

    Its `turn` is called by one thread.

    Args:
        runner: This node's processes.
        expositions: Asks them.
        view: Tells which deployments are meant.
        heart: Tells what was found with its next beat.
    """

    def __init__(self, runner: Runner, expositions: Expositions, view: FleetView, heart: Heart) -> None:
        self._runner = runner
        self._expositions = expositions
        self._view = view
        self._heart = heart
        self._latest: dict[tuple[Slot, int], Latencies] = {}

    def turn(self) -> None:
        """Ask each of them; of one that does not answer, what it said last stands."""
        meant = {name for name, found in self._view.desired().deployments.items() if found.scale.auto is not None}
        asked = (
            self._ask(process)
            for process in (self._runner.processes() if meant else ())
            if process.slot.deployment in meant and process.slot.kind == SCORER and process.url
            if not process.has_ended
        )
        self._heart.latencies = tuple(found for found in asked if found is not None)
        self._latest = {(found.slot, found.launch): found for found in self._heart.latencies}

    def _ask(self, process: Running) -> Latencies | None:
        try:
            said = self._expositions.of(process, within=_PATIENCE)
        except TransientError:
            # Were it left out, all that it ever did would look new when it answers again.
            return self._latest.get((process.slot, process.launch))
        counts = latency_counts(said)
        return Latencies(process.slot, process.launch, counts) if counts else None
