"""Records that were polled and are not yet scored."""

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from millrace.core.batching import Backlog
from millrace.core.lane import Discard
from millrace.core.records import RecordBatch


@dataclass(slots=True)
class _Held:
    records: RecordBatch
    oldest_ms: int
    polled_at: float


class Pending:
    """Polled records in the order of polling. Whoever polls adds, whoever scores takes, a rebalance discards."""

    def __init__(self) -> None:
        self._held: deque[_Held] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, records: RecordBatch, *, wall_ms: int, monotonic: float) -> None:
        """Append what a poll brought. Records without a timestamp count as written when they were polled."""
        if not len(records):
            return
        self._held.append(_Held(records, _oldest(records, wall_ms), monotonic))
        self._count += len(records)

    def discard(self, discard: Discard) -> None:
        """Forget what the lane will deliver again, or deliver to another worker."""
        if not discard:
            return
        kept = [(held, surviving(held.records, discard)) for held in self._held]
        self._held = deque(_Held(records, held.oldest_ms, held.polled_at) for held, records in kept if len(records))
        self._count = sum(len(held.records) for held in self._held)

    def backlog(self, *, wall_ms: int, monotonic: float) -> Backlog:
        """What a batching decision needs to know."""
        if not self._held:
            return Backlog(0)
        oldest_ms = min(held.oldest_ms for held in self._held)
        return Backlog(
            self._count,
            oldest=timedelta(milliseconds=wall_ms - oldest_ms),
            waited=timedelta(seconds=monotonic - self._held[0].polled_at),
        )

    def take(self, count: int) -> RecordBatch:
        """Remove and return the `count` records that were polled first; at least 1, and there must be that many."""
        taken: list[RecordBatch] = []
        missing = count
        while missing:
            held = self._held.popleft()
            if len(held.records) > missing:
                rest = held.records.take(slice(missing, None))
                self._held.appendleft(_Held(rest, _oldest(rest, held.oldest_ms), held.polled_at))
                taken.append(held.records.take(slice(0, missing)))
                break
            taken.append(held.records)
            missing -= len(held.records)
        self._count -= count
        return RecordBatch.concat(taken)


def _oldest(records: RecordBatch, otherwise_ms: int) -> int:
    known = records.timestamps_ms[records.timestamps_ms >= 0]
    return int(known.min()) if len(known) else otherwise_ms


def surviving(records: RecordBatch, discard: Discard) -> RecordBatch:
    """The records that a discard leaves; none where it is of everything."""
    if discard.everything:
        return RecordBatch.empty(records.topic)
    numbers = [each.partition for each in discard.partitions if each.topic == records.topic]
    gone = np.isin(records.partitions, numbers)
    return records.take(np.flatnonzero(~gone)) if gone.any() else records
