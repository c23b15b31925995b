"""The figures of this node's processes over the last hour, asked of each every few seconds."""

from collections.abc import Mapping
from datetime import timedelta
from threading import Lock
from typing import Any, Final

from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace.core.errors import TransientError
from millrace_launcher.adapters.expositions import Expositions
from millrace_launcher.logic.ports import Runner, Running
from millrace_launcher.logic.series import EVERY, Series, read_exposition

_PATIENCE: Final = timedelta(seconds=1)


class Sampler:
    """Keeps an hour of figures for each process slot of this node, and forgets slots that the runner does not know.

    `turn` is for one thread, `series` for any.

    Args:
        runner: This node's processes.
        expositions: Asks them.
        clock: The system's.
    """

    def __init__(self, runner: Runner, expositions: Expositions, clock: Clock) -> None:
        self._runner = runner
        self._expositions = expositions
        self._clock = clock
        self._lock = Lock()
        self._series: dict[Slot, Series] = {}

    def turn(self) -> None:
        """Ask every process that runs; one that does not answer has a gap."""
        running = [process for process in self._runner.processes() if process.url]
        with self._lock:
            for slot in self._series.keys() - {process.slot for process in running}:
                del self._series[slot]
        for process in running:
            if not process.has_ended:
                self._take(process)

    def series(self, slot: Slot) -> Mapping[str, Any]:
        """The figures of a slot as lists of equal length, oldest first; empty ones where nothing is known."""
        with self._lock:
            known = self._series.get(slot, Series())
            return {"every_secs": EVERY.total_seconds(), **known.columns()}

    def _take(self, process: Running) -> None:
        try:
            said = self._expositions.of(process, within=_PATIENCE)
        except TransientError:
            return  # Whether it does its work is the prober's question.
        reading = read_exposition(said, launch=process.launch, at_ms=self._clock.wall_ms())
        with self._lock:
            self._series.setdefault(process.slot, Series()).take(reading)
