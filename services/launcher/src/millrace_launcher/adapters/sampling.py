"""The figures of this node's processes over the last hour, asked of each every few seconds."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

import httpx

from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace_launcher.logic.ports import Runner, Running
from millrace_launcher.logic.series import EVERY, Series, read_exposition

_PATIENCE: Final = timedelta(seconds=1)


class Sampler:
    """Keeps an hour of figures for each process slot of this node, and forgets slots that the runner does not know.

    `turn` is for one thread, `series` for any. Close it, or use it in a `with`.

    Args:
        runner: This node's processes.
        clock: The system's.
    """

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._lock = Lock()
        self._series: dict[Slot, Series] = {}
        self._client = httpx.Client(timeout=_PATIENCE.total_seconds(), trust_env=False)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # It would log every question.

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

    def close(self) -> None:
        """Release everything."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, process: Running) -> None:
        try:
            said = self._client.get(f"{process.url}/metrics").raise_for_status().text
        except httpx.HTTPError:
            return  # Whether it does its work is the prober's question.
        reading = read_exposition(said, launch=process.launch, at_ms=self._clock.wall_ms())
        with self._lock:
            self._series.setdefault(process.slot, Series()).take(reading)
