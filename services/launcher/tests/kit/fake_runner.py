"""A runner without processes: programs are names of what they would do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.logic.exits import explain_exit
from millrace_launcher.logic.ports import Launch, Runner, Running


@dataclass(slots=True)
class FakeRunner:
    """Runs `waits`, which ends when it is asked to, and `fails`, which ends at once."""

    _running: dict[Slot, Running] = field(default_factory=dict)
    _said: dict[Slot, list[str]] = field(default_factory=dict)
    _forgotten: set[Slot] = field(default_factory=set)
    _clock_ms: int = 0

    def start(self, launch: Launch) -> None:
        """See `Runner.start`."""
        found = self._running.get(launch.slot)
        if found is not None and not found.has_ended:
            raise RequestError(f"{launch.slot} runs already", remedy="drain it first")
        self._forgotten.discard(launch.slot)
        self._clock_ms += 1
        self._running[launch.slot] = Running(launch.slot, launch.launch, 7, "", self._clock_ms)
        if launch.command[-1] == "waits":
            self._say(launch.slot, "up")
        else:
            self._say(launch.slot, "no such model")
            self._end(launch.slot, code=1, noted="")

    def drain(self, slot: Slot) -> None:
        """See `Runner.drain`."""
        if slot in self._running and not self._running[slot].has_ended:
            self._running[slot] = replace(self._running[slot], is_draining=True)
            self._say(slot, "drained")
            self._end(slot, code=0, noted="")

    def kill(self, slot: Slot, *, why: str = "") -> None:
        """See `Runner.kill`."""
        if slot in self._running and not self._running[slot].has_ended:
            self._running[slot] = replace(self._running[slot], is_draining=not why)
            self._end(slot, code=-9, noted=why)

    def processes(self) -> Sequence[Running]:
        """See `Runner.processes`."""
        return [found for slot, found in self._running.items() if slot not in self._forgotten]

    def forget(self, slot: Slot) -> None:
        """See `Runner.forget`."""
        if slot in self._running and self._running[slot].has_ended:
            self._forgotten.add(slot)

    def log(self, slot: Slot, *, lines: int) -> Iterable[str]:
        """See `Runner.log`."""
        return self._said.get(slot, [])[-lines:]

    def close(self) -> None:
        """See `Runner.close`."""

    def _say(self, slot: Slot, line: str) -> None:
        self._said.setdefault(slot, []).append(line)

    def _end(self, slot: Slot, *, code: int, noted: str) -> None:
        self._clock_ms += 1
        why = explain_exit(code, noted, self._said.get(slot, []))
        self._running[slot] = replace(
            self._running[slot], has_ended=True, ended_ms=self._clock_ms, exit_code=code, why=why
        )


def make_fake(_: NodeFolder) -> Runner:
    """As a package's entry point makes a runner."""
    return FakeRunner()
