"""What the node needs of whatever runs processes: on this machine, in containers, on a cluster."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from millrace.core.control.fleet import Slot

HEALTH_PORT: Final = "MILLRACE_HEALTH__PORT"
"""Environment variable of the port on which a process serves its health."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start.

    Attributes:
        slot: Its place.
        launch: Which process of the slot; greater than those before.
        command: The program and its arguments.
        environment: All its environment variables.
        cores: Processor cores; it runs on as many whole ones.
        memory_bytes: Most memory of it and all that it starts; beyond that it is ended.
        folder: Where it is started; empty for where the daemon was.
    """

    slot: Slot
    launch: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cores: float
    memory_bytes: int
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What a runner knows of the latest process of a slot.

    Attributes:
        slot: Its place.
        launch: Which process of the slot.
        pid: Its number; None before it was started, and where processes have none.
        url: Where its health is served.
        started_ms: When it was started, milliseconds since 1970.
        is_draining: Whether it was asked to end.
        has_ended: Whether it is over.
        ended_ms: When it ended.
        exit_code: How; negative for a signal, None where nobody saw it.
        why: What the end came from, in one line; empty while it runs.
        waits: Why its program has not begun yet, in one line; empty once it has.
    """

    slot: Slot
    launch: int
    pid: int | None
    url: str
    started_ms: int
    is_draining: bool = False
    has_ended: bool = False
    ended_ms: int | None = None
    exit_code: int | None = None
    why: str = ""
    waits: str = ""


class Runner(Protocol):
    """Runs processes, at most one a slot. Processes outlive the runner object, and another one finds them again.

    Every method may be called from several threads, and none waits for a process.
    """

    def start(self, launch: Launch) -> None:
        """Start a process.

        Raises:
            RequestError: A process of the slot runs.
        """

    def drain(self, slot: Slot) -> None:
        """Ask the process to end what it has in hand; it is killed when that takes too long. Nothing without one."""

    def kill(self, slot: Slot, *, why: str = "") -> None:
        """End the process at once. Nothing without one.

        Args:
            slot: Its slot.
            why: What it is ended for, if it did something wrong; the end was asked for where empty.
        """

    def processes(self) -> Sequence[Running]:
        """The latest process of every slot that is known, those of earlier runners included."""

    def forget(self, slot: Slot) -> None:
        """Keep what the slot's last process said, and mention it no more. Nothing while it runs."""

    def log(self, slot: Slot, *, lines: int) -> Iterable[str]:
        """The last lines that the latest processes of a slot said, oldest first, also after they ended."""

    def close(self) -> None:
        """Release what this object holds. The processes run on."""
