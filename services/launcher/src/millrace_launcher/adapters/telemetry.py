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

    def turn(self, processes: Iterable[Process], *, is_elected: bool, is_heard: bool, hanging: str) -> None:
        """The agent's loop came round.

        Args:
            processes: What was told about the node's slots.
            is_elected: Whether this daemon decides.
            is_heard: Whether the last heartbeat was acknowledged.
            hanging: What of the daemon hangs; empty where nothing does. Then it is not live much longer, either.
        """
        if hanging:
            self._health.not_ready(hanging)
        else:
            self._health.turn()
            self._say_ready(is_heard=is_heard)
        told = list(processes)
        states = Counter(process.state for process in told)
        for state in ProcessState:
            self._instruments.set(metrics.PROCESSES, states[state], state=state)
        crashed = {(str(p.slot), p.launch) for p in told if p.state is ProcessState.ENDED and not p.asked}
        self._instruments.add(metrics.CRASHES, len(crashed - self._crashed))
        self._crashed = crashed
        self._instruments.set(metrics.CONTROLLER, is_elected)
        self._instruments.set(metrics.HEARD, is_heard)
        self._instruments.set(metrics.READY, is_heard and not hanging)

    def _say_ready(self, *, is_heard: bool) -> None:
        if is_heard:
            self._health.ready()
        else:
            self._health.not_ready("the broker does not answer")
