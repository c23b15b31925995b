"""A topic, a group and an online store in memory, which fail when told to."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

import numpy as np

from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch
from millrace.store.online_table import Upsert
from millrace.testing.records import record_batch

TOPIC = "stations.features"

Stored = tuple[int, bytes]
"""Offset and value."""


class Mark(Enum):
    """What lies in a log and is no record."""

    END_OF_TRANSACTION = "end of transaction"


Entry = tuple[bytes | None, bytes | None] | Mark
"""Key and value, or a mark."""


@dataclass
class MemoryLog:
    """The partitions of one topic."""

    partitions: int
    entries: dict[int, list[Entry]] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = {number: [] for number in range(self.partitions)}

    def newest(self, partition: int, before: int) -> dict[bytes, Stored]:
        """What a table holds of a partition that was read up to `before`: the plain rule, record by record."""
        held: dict[bytes, Stored] = {}
        for offset, entry in enumerate(self.entries[partition][:before]):
            if isinstance(entry, Mark):
                continue
            key, value = entry
            if key is None:
                continue
            if value is None:
                held.pop(key, None)
            else:
                held[key] = (offset, value)
        return held


@dataclass
class MemoryMember:
    """A member that owns what the test says. See `millrace_materializer.logic.ports.Member`."""

    log: MemoryLog
    mine: set[int] = field(default_factory=set)
    positions: dict[int, int] = field(default_factory=dict)
    is_away: bool = False
    unanswered: int = 0

    def assign(self, partitions: Collection[int]) -> None:
        """These are ours from now on; what stays keeps its place."""
        self.mine = set(partitions)
        self.positions = {number: at for number, at in self.positions.items() if number in self.mine}

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """See `Member.ends`."""
        if self.unanswered:
            self.unanswered -= 1
            raise TransientError("the broker does not answer")
        return {number: (0, len(entries)) for number, entries in self.log.entries.items()}

    def owned(self) -> frozenset[int]:
        """See `Member.owned`."""
        return frozenset(self.mine)

    def waiting(self) -> frozenset[int]:
        """See `Member.waiting`."""
        return frozenset(self.mine - self.positions.keys())

    def place(self, offsets: Mapping[int, int]) -> None:
        """See `Member.place`."""
        self.positions.update({number: at for number, at in offsets.items() if number in self.mine})

    def displace(self, partitions: Collection[int]) -> None:
        """See `Member.displace`."""
        for number in partitions:
            self.positions.pop(number, None)

    def reached(self) -> Mapping[int, int]:
        """See `Member.reached`."""
        return self.positions

    def read(self, limit: int, timeout: timedelta) -> RecordBatch:
        """See `Member.read`."""
        if self.is_away:
            raise TransientError("the broker is away")
        found: list[RecordBatch] = []
        for number, position in self.positions.items():
            entries = self.log.entries[number][position : position + limit]
            found += [
                record_batch([entry[1]], topic=TOPIC, partition=number, first_offset=position + row, keys=[entry[0]])
                for row, entry in enumerate(entries)
                if not isinstance(entry, Mark)
            ]
            self.positions[number] = position + len(entries)
        return RecordBatch.concat(found) if found else RecordBatch.empty(TOPIC)


class Failure(Enum):
    """How the next write fails."""

    BEFORE = "before"
    """The store takes nothing: away, full."""
    AFTER = "after"
    """The store takes it, and the answer is lost."""


@dataclass
class MemoryTable:
    """The table's rules without a server. See `millrace_materializer.logic.ports.Table`."""

    values: dict[bytes, Stored] = field(default_factory=dict)
    at: dict[int, int] = field(default_factory=dict)
    targets: dict[int, int] = field(default_factory=dict)
    partitions: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def filling(self) -> int | None:
        """Partitions that are not yet read to their target; None where there is no table."""
        if not self.partitions:
            return None
        return self.partitions - sum(self.at[number] >= target for number, target in self.targets.items())

    def open(self, bounds: Mapping[int, tuple[int, int]], *, partitions: int) -> Mapping[int, int]:
        """See `Table.open`."""
        self._fail(Failure.BEFORE)
        self.partitions = max(self.partitions, partitions)
        for number, (start, end) in bounds.items():
            if number not in self.at:
                self.at[number], self.targets[number] = start, end
        self._fail(Failure.AFTER)
        return {number: self.at[number] for number in bounds}

    def places(self, partitions: Collection[int]) -> Mapping[int, int | None]:
        """See `Table.places`."""
        self._fail(Failure.BEFORE)
        return {number: self.at.get(number) for number in partitions}

    def apply(self, upserts: Sequence[Upsert]) -> Mapping[int, int | None]:
        """See `Table.apply`."""
        self._fail(Failure.BEFORE)
        for upsert in upserts:
            if self.at.get(upsert.partition) == upsert.expected:
                self._move(upsert)
        self._fail(Failure.AFTER)
        return {upsert.partition: self.at.get(upsert.partition) for upsert in upserts}

    def lose_everything(self) -> None:
        """As a server without persistence that was restarted."""
        self.restore(MemoryTable())

    def snapshot(self) -> "MemoryTable":
        """As a server saves itself."""
        return deepcopy(self)

    def restore(self, saved: "MemoryTable") -> None:
        """As a server that comes back with what it saved."""
        old = deepcopy(saved)
        self.values, self.at, self.targets = old.values, old.at, old.targets
        self.partitions = old.partitions

    def _move(self, upsert: Upsert) -> None:
        self.at[upsert.partition] = upsert.next_offset
        records = upsert.records
        for key, value, offset in zip(records.keys, records.values, records.offsets.tolist(), strict=True):
            assert key is not None
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = (offset, value)

    def _fail(self, how: Failure) -> None:
        if self.failures and self.failures[0] is how:
            self.failures.pop(0)
            raise TransientError("the store is away")


@dataclass
class Told:
    """Remembers what a loop reports."""

    consumed: int = 0
    unkeyed: int = 0
    moved_partitions: list[int] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    is_working: bool = False

    def written(self, *, consumed: int, values: int, deleted: int, unkeyed: int, seconds: float) -> None:
        """See `Observer.written`."""
        assert np.isfinite([values, deleted, seconds]).all()
        self.consumed += consumed
        self.unkeyed += unkeyed

    def moved(self, partitions: Collection[int]) -> None:
        """See `Observer.moved`."""
        self.moved_partitions += partitions

    def away(self, reason: str, *, attempt: int) -> None:
        """See `Observer.away`."""
        self.troubles.append(f"{reason}, attempt {attempt}")
        self.is_working = False

    def unreachable(self, reason: str) -> None:
        """See `Observer.unreachable`."""
        self.troubles.append(reason)
        self.is_working = False

    def working(self, owned: int) -> None:
        """See `Observer.working`."""
        self.is_working = owned > 0
