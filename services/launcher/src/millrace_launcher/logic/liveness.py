"""Whether a process hangs, from what it said on `/livez` and how long ago it said anything."""

from dataclasses import dataclass, field
from datetime import timedelta

from millrace.core.control.fleet import Slot


@dataclass(frozen=True, slots=True)
class Life:
    """What a process says about its life.

    Attributes:
        is_alive: Whether it says that it lives; None where it does not answer.
        why: Its reason, in one line.
    """

    is_alive: bool | None
    why: str


@dataclass(slots=True)
class Vigil:
    """Remembers when processes were last known to live. For one thread.

    Attributes:
        patience: How long one that has answered before may be silent.
    """

    patience: timedelta
    _lived: dict[tuple[Slot, int], float] = field(default_factory=dict)

    def lives(self, slot: Slot, launch: int, now: float) -> None:
        """The process does its work, or says that it lives.

        Args:
            slot: Its slot.
            launch: Which process of the slot.
            now: Seconds of a monotonic clock.
        """
        self._lived = {key: at for key, at in self._lived.items() if key[0] != slot}
        self._lived[slot, launch] = now

    def hangs(self, slot: Slot, launch: int, life: Life, now: float) -> str:
        """Why the process is taken to hang, in one line; empty where it is not, or was never heard."""
        if life.is_alive:
            self.lives(slot, launch, now)
            return ""
        if life.is_alive is False:
            return f"hung: {life.why}"
        silent = now - self._lived.get((slot, launch), now)
        return f"hung: it has not answered for {silent:.0f} s" if silent > self.patience.total_seconds() else ""
