"""Whether a process hangs, from what it said on `/livez` and how long it was silent while it was watched.

On a machine that starves everybody the watcher comes late to its turns as well, and time in which it could not ask
says nothing about the process.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from millrace.core.control.fleet import Slot

LOOKS: Final = 5
"""Nothing is taken to hang before so many looks, however long they took: no look counts for more than its share."""


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
    """Remembers for how long processes were seen to be silent. For one thread.

    Attributes:
        patience: How long one that has answered before may be silent.
    """

    patience: timedelta
    _seen: dict[tuple[Slot, int], "_Seen"] = field(default_factory=dict)

    def lives(self, slot: Slot, launch: int, now: float) -> None:
        """The process does its work, or says that it lives.

        Args:
            slot: Its slot.
            launch: Which process of the slot.
            now: Seconds of a monotonic clock.
        """
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != slot}
        self._seen[slot, launch] = _Seen(now, 0.0)

    def hangs(self, slot: Slot, launch: int, life: Life, now: float) -> str:
        """Why the process is taken to hang, in one line; empty where it is not, or was never heard."""
        if life.is_alive:
            self.lives(slot, launch, now)
            return ""
        if life.is_alive is False:
            return f"hung: {life.why}"
        if (before := self._seen.get((slot, launch))) is None:
            return ""
        patience = self.patience.total_seconds()
        silent = before.silent + min(now - before.at, patience / LOOKS)
        self._seen[slot, launch] = _Seen(now, silent)
        return f"hung: it has not answered for {silent:.0f} s" if silent > patience else ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The latest look at a process: when it was, and for how many watched seconds it had been silent by then."""

    at: float
    silent: float
