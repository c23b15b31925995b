"""Partitions and transactions in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from millrace.core.clock import Clock
from millrace.core.errors import TransientError
from millrace.core.records import Headers, NextOffset, Offset, OutputBatch, TopicPartition
from millrace.kafka.lane.triage import Recovery, StepError
from millrace.testing.memory.groups import MemoryGroup


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record where it lies in the log."""

    partition: TopicPartition
    offset: Offset
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


class _Fate(Enum):
    """Where a transaction stands."""

    OPEN = "open"
    COMMITTING = "committing"
    """Decided and answered, but the partitions and the group do not know yet."""
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(eq=False, slots=True)
class _Transaction:
    since: float
    fate: _Fate = _Fate.OPEN
    partitions: set[TopicPartition] = field(default_factory=set)
    offsets: dict[str, dict[TopicPartition, tuple[int, NextOffset]]] = field(default_factory=dict)

    @property
    def is_pending(self) -> bool:
        return self.fate in {_Fate.OPEN, _Fate.COMMITTING}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record, or the marker that ends a transaction and takes an offset like a record."""

    record: StoredRecord | None
    transaction: _Transaction | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A transactional id as one producer holds it."""

    name: str
    epoch: int


@dataclass(slots=True)
class _Holder:
    epoch: int = 0
    transaction: _Transaction | None = None


class MemoryLog:
    """Topics, groups and transactions of one imaginary broker.

    Args:
        clock: Whose time counts for timeouts.
        transaction_timeout: After this the broker aborts an open transaction and fences its producer.
        session_timeout: After this a frozen member is removed from its group.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        transaction_timeout: timedelta = timedelta(seconds=10),
        session_timeout: timedelta = timedelta(seconds=6),
    ) -> None:
        self._clock = clock
        self._transaction_timeout = transaction_timeout.total_seconds()
        self._session_timeout = session_timeout
        self._partitions: dict[TopicPartition, list[_Entry]] = {}
        self._holders: dict[str, _Holder] = {}
        self._groups: dict[str, MemoryGroup] = {}
        self._sequence = 0
        self.delays_markers = False
        """Whether a commit is answered before its records can be read, as Kafka may. `write_markers` ends the delay."""

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make an empty topic."""
        for number in range(partitions):
            self._partitions[TopicPartition(topic, number)] = []

    def partitions(self, topic: str) -> frozenset[TopicPartition]:
        """The partitions of a topic; none for a topic that does not exist."""
        return frozenset(partition for partition in self._partitions if partition.topic == topic)

    def group(self, name: str) -> MemoryGroup:
        """The consumer group of this name, made when it is first asked for."""
        if name not in self._groups:
            self._groups[name] = MemoryGroup(name, self._clock, self._session_timeout)
        return self._groups[name]

    def append(self, outputs: OutputBatch) -> None:
        """Write records outside any transaction."""
        self._append(outputs, None)

    def stable_end(self, partition: TopicPartition) -> NextOffset:
        """Readers of committed records see up to here."""
        self._expire()
        entries = self._partitions[partition]
        pending = (offset for offset, e in enumerate(entries) if e.transaction and e.transaction.is_pending)
        return NextOffset(next(pending, len(entries)))

    def end(self, partition: TopicPartition) -> NextOffset:
        """One past the last record, readable or not."""
        return NextOffset(len(self._partitions[partition]))

    def committed_records(self, partition: TopicPartition, start: int = 0) -> Iterator[StoredRecord]:
        """The records that a reader of committed records sees, from `start` on."""
        for entry in self._partitions[partition][start : self.stable_end(partition)]:
            if entry.record is not None and (entry.transaction is None or entry.transaction.fate is _Fate.COMMITTED):
                yield entry.record

    def topic_records(self, topic: str) -> list[StoredRecord]:
        """All committed records of a topic, partition by partition."""
        return [record for p in sorted(self.partitions(topic)) for record in self.committed_records(p)]

    def take_identity(self, name: str) -> Identity:
        """Become the holder of a transactional id: whoever held it is fenced, what he left open is aborted."""
        holder = self._holders.setdefault(name, _Holder())
        self._settle(holder)
        holder.epoch += 1
        return Identity(name, holder.epoch)

    def begin(self, identity: Identity) -> None:
        """Begin a transaction; the last one of this identity is settled first."""
        holder = self._held(identity)
        self._settle(holder)
        holder.transaction = _Transaction(self._clock.monotonic())

    def write(self, identity: Identity, outputs: OutputBatch) -> None:
        """Write records in the open transaction."""
        self._append(outputs, self._open(identity))

    def add_offsets(
        self, identity: Identity, group: str, member: str, next_offsets: Mapping[TopicPartition, NextOffset]
    ) -> None:
        """Make offsets part of the open transaction. Asks who the member is, not what it owns."""
        transaction = self._open(identity)
        if not self.group(group).has(member):
            raise StepError(Recovery.ABORT, TransientError(f"{member} is not a member of {group}"))
        offsets = transaction.offsets.setdefault(group, {})
        for partition, next_offset in next_offsets.items():
            self._sequence += 1
            offsets[partition] = (self._sequence, next_offset)

    def commit(self, identity: Identity) -> None:
        """Decide to commit the open transaction."""
        transaction = self._open(identity)
        transaction.fate = _Fate.COMMITTING
        if not self.delays_markers:
            self._end(transaction, _Fate.COMMITTED)

    def abort(self, identity: Identity) -> None:
        """Abort the open transaction."""
        self._end(self._open(identity), _Fate.ABORTED)

    def write_markers(self) -> None:
        """Tell partitions and groups of every decided transaction."""
        for holder in self._holders.values():
            if holder.transaction is not None and holder.transaction.fate is _Fate.COMMITTING:
                self._end(holder.transaction, _Fate.COMMITTED)

    def committed(self, group: str, partition: TopicPartition) -> NextOffset | None:
        """The committed offset, None where there is none.

        Raises:
            StepError: A pending transaction is about to change it.
        """
        self._expire()
        for holder in self._holders.values():
            transaction = holder.transaction
            if transaction and transaction.is_pending and partition in transaction.offsets.get(group, {}):
                raise StepError(Recovery.RETRY, TransientError(f"the offset of {partition} is pending in {group}"))
        return self.group(group).committed(partition)

    def commit_offsets(self, group: str, member: str, next_offsets: Mapping[TopicPartition, NextOffset]) -> None:
        """Commit offsets outside any transaction."""
        if not self.group(group).has(member):
            raise StepError(Recovery.ABORT, TransientError(f"{member} is not a member of {group}"))
        for partition, next_offset in next_offsets.items():
            self._sequence += 1
            self.group(group).commit(partition, self._sequence, next_offset)

    def _append(self, outputs: OutputBatch, transaction: _Transaction | None) -> None:
        for row, number in enumerate(outputs.partitions.tolist()):
            partition = TopicPartition(outputs.topic, number)
            entries = self._partitions[partition]
            record = StoredRecord(
                partition,
                Offset(len(entries)),
                int(outputs.timestamps_ms[row]),
                outputs.keys[row],
                outputs.values[row],
                outputs.headers[row] if outputs.headers is not None else None,
            )
            entries.append(_Entry(record, transaction))
            if transaction is not None:
                transaction.partitions.add(partition)

    def _held(self, identity: Identity) -> _Holder:
        self._expire()
        holder = self._holders[identity.name]
        if holder.epoch != identity.epoch:
            raise StepError(Recovery.REBUILD, TransientError(f"{identity.name} is fenced"))
        return holder

    def _open(self, identity: Identity) -> _Transaction:
        transaction = self._held(identity).transaction
        if transaction is None or transaction.fate is not _Fate.OPEN:
            raise StepError(Recovery.REBUILD, TransientError(f"{identity.name} has no open transaction"))
        return transaction

    def _settle(self, holder: _Holder) -> None:
        if holder.transaction is not None and holder.transaction.is_pending:
            decided = holder.transaction.fate is _Fate.COMMITTING
            self._end(holder.transaction, _Fate.COMMITTED if decided else _Fate.ABORTED)

    def _end(self, transaction: _Transaction, fate: _Fate) -> None:
        transaction.fate = fate
        for partition in transaction.partitions:
            self._partitions[partition].append(_Entry(None, transaction))
        if fate is _Fate.COMMITTED:
            for group, offsets in transaction.offsets.items():
                for partition, (sequence, next_offset) in offsets.items():
                    self.group(group).commit(partition, sequence, next_offset)

    def _expire(self) -> None:
        """Abort what has been open for too long; its producer finds out by being fenced."""
        now = self._clock.monotonic()
        for holder in self._holders.values():
            transaction = holder.transaction
            if transaction is None or transaction.fate is not _Fate.OPEN:
                continue
            if now - transaction.since > self._transaction_timeout:
                self._end(transaction, _Fate.ABORTED)
                holder.epoch += 1
