"""Metrics and readiness of a daemon."""

from collections import Counter
from collections.abc import Iterable

from millrace.core.control.fleet import Process, ProcessState
from millrace.process.health import Health
from millrace.telemetry import launcher as metrics
from millrace.telemetry.metrics import Instruments


class Telemetry:
    """Counts what the daemon does.

    Args:
        instruments: Where counts are kept.
        health: Where readiness is said.
    """

    def __init__(self, instruments: Instruments, health: Health) -> None:
        self._instruments = instruments
        self._health = health
        self._crashed: set[tuple[str, int]] = set()

    def turn(self, processes: Iterable[Process], *, is_elected: bool, is_heard: bool) -> None:
        """The agent's loop came round."""
        self._health.turn()
        if is_heard:
            self._health.ready()
        else:
            self._health.not_ready("the broker does not answer")
        told = list(processes)
        states = Counter(process.state for process in told)
        for state in ProcessState:
            self._instruments.set(metrics.PROCESSES, states[state], state=state)
        crashed = {(str(p.slot), p.launch) for p in told if p.state is ProcessState.ENDED and not p.asked}
        self._instruments.add(metrics.CRASHES, len(crashed - self._crashed))
        self._crashed = crashed
        self._instruments.set(metrics.CONTROLLER, is_elected)
        self._instruments.set(metrics.HEARD, is_heard)
        self._instruments.set(metrics.READY, is_heard)
