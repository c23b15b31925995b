"""Requests that wait for a micro-batch: bounded, by priority and age, without those whose deadline has passed.

One micro-batch is made of whole requests, of as many connections as there are. When it leaves is decided where it is
decided for topics: `millrace.core.batching`.
"""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from sys import maxsize
from typing import Any, Generic, TypeVar

from millrace.core.batching import Backlog
from millrace_gateway.logic.asking import NORMAL_PRIORITY
from millrace_gateway.logic.errors import BusyError

Waiting = TypeVar("Waiting")


@dataclass(frozen=True, slots=True, order=True)
class _Entry(Generic[Waiting]):
    rank: tuple[int, int]
    rows: int = field(compare=False)
    arrived: float = field(compare=False)
    deadline: float = field(compare=False)
    waiting: Waiting = field(compare=False)


class Pending(Generic[Waiting]):
    """The requests that wait for one model, in the order in which they will be scored. Not thread-safe.

    Args:
        bound_rows: Most rows that wait. One request may exceed it where nothing else waits.
    """

    def __init__(self, bound_rows: int) -> None:
        self._bound = bound_rows
        self._entries: list[_Entry[Any]] = []
        self._rows = 0
        self._count = 0

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._entries)

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return self._rows

    def add(self, waiting: Waiting, *, rows: int, arrived: float, deadline: float, priority: int) -> None:
        """Let a request wait. Times are monotonic seconds.

        Raises:
            BusyError: There is no room.
        """
        if self._rows and self._rows + rows > self._bound:
            raise BusyError(
                f"{self._rows} rows are waiting and {self._bound} may",
                remedy="come back later, start another gateway, or raise MILLRACE_GATEWAY__LIMITS__PENDING_ROWS",
            )
        self._count += 1
        rank = (maxsize if priority == NORMAL_PRIORITY else priority, self._count)
        entry = _Entry(rank, rows, arrived, deadline, waiting)
        if not self._entries or self._entries[-1].rank < rank:  # as nearly always
            self._entries.append(entry)
        else:
            insort(self._entries, entry)
        self._rows += rows

    def backlog(self, now: float) -> Backlog:
        """What waits, as the batching policy wants to see it."""
        if not self._entries:
            return Backlog(0)
        age = timedelta(seconds=max(0.0, now - min(entry.arrived for entry in self._entries)))
        return Backlog(self._rows, age, age)

    def take(self, rows: int) -> list[Waiting]:
        """Remove the first requests, of at most `rows` rows together but at least one of them."""
        taken = fitting = 0
        for entry in self._entries:
            if taken and fitting + entry.rows > rows:
                break
            fitting += entry.rows
            taken += 1
        chosen, self._entries = self._entries[:taken], self._entries[taken:]
        self._rows -= fitting
        return [entry.waiting for entry in chosen]

    def expire(self, now: float) -> list[Waiting]:
        """Remove the requests whose deadline has passed."""
        late = [entry for entry in self._entries if entry.deadline <= now]
        if late:
            self._entries = [entry for entry in self._entries if entry.deadline > now]
            self._rows -= sum(entry.rows for entry in late)
        return [entry.waiting for entry in late]

    def discard(self, unwanted: Callable[[Waiting], bool]) -> None:
        """Remove the requests whose client is gone."""
        self._entries = [entry for entry in self._entries if not unwanted(entry.waiting)]
        self._rows = sum(entry.rows for entry in self._entries)
