"""What a process sees of the in-memory log: a reader and writers, as lanes take them."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from itertools import islice
from typing import assert_never

import numpy as np

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery, Lane
from millrace.core.records import NextOffset, NextOffsets, OutputBatch, RecordBatch, TopicPartition
from millrace.kafka.lane.group import GroupLane
from millrace.kafka.lane.ports import Listener, OpenWriter, Reader
from millrace.kafka.lane.settling import Here
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.triage import StepError
from millrace.process.deployment import Start
from millrace.testing.clock import ManualClock
from millrace.testing.memory.log import MemoryLog, StoredRecord
from millrace.testing.memory.settling import Settler


class Point(Enum):
    """Where a process can be stopped."""

    INIT = "init"
    """A producer is about to take its identity."""
    READ = "read"
    BEGIN = "begin"
    SEND = "send"
    FLUSH = "flush"
    SEND_OFFSETS = "send_offsets"
    COMMIT = "commit"
    REPLY = "reply"
    """The commit has been decided and its answer is on the way."""
    ABORT = "abort"


class CrashedError(Exception):
    """The process has ended in the middle of what it was doing. Nothing may catch this but the simulation."""


def _go_on(_: Point) -> None:
    """Nothing happens."""


class MemoryClient:
    """One process that uses the in-memory log.

    Args:
        log: The log.
        clock: Moved when the process waits.
        interrupt: Called at every point where a process can be stopped. It may raise CrashedError; or what a broker
            causes there, which is TransientError at INIT and READ and StepError elsewhere; or let others run and
            time pass, which is what a frozen process sees when it wakes up.
        pace: How many points the process comes to between two steps of a commit that it has begun; 0 settles at once.
    """

    def __init__(
        self, log: MemoryLog, clock: ManualClock, interrupt: Callable[[Point], None] = _go_on, *, pace: int = 0
    ) -> None:
        self.log = log
        self.clock = clock
        self.is_frozen = False
        """Whether it sends no heartbeats: stopped, or dead and not yet missed."""
        self.settler = Settler(pace)
        self._interrupt = interrupt

    def at(self, point: Point) -> None:
        """The process has come to this point."""
        self._interrupt(point)
        self.settler.passed()


def memory_lane(client: MemoryClient, spec: LaneSpec) -> Lane:
    """A lane on the in-memory log: the rules of the real lanes over an imaginary broker.

    Args:
        client: The process that runs it.
        spec: What the lane is to be; exactly once or at least once.
    """
    settler = client.settler if spec.alternate and spec.delivery is Delivery.EXACTLY_ONCE else Here()
    return GroupLane(spec.topic, _Reader(client, spec), _writers(client, spec), settler, client.clock)


def _writers(client: MemoryClient, spec: LaneSpec) -> list[OpenWriter]:
    def opener(transactional_id: str) -> OpenWriter:
        return lambda: _TransactionalWriter(client, transactional_id)

    match spec.delivery:
        case Delivery.EXACTLY_ONCE:
            return [opener(transactional_id) for transactional_id in spec.transactional_ids]
        case Delivery.AT_LEAST_ONCE:
            return [lambda: _PlainWriter(client)]
        case Delivery.SHARED:
            raise RequestError("the in-memory log has no share groups", remedy="test shared delivery on a real broker")
        case _:
            assert_never(spec.delivery)


@dataclass(frozen=True, slots=True)
class _Membership:
    group: str
    member: str


class _Reader:
    """A member of a group on the in-memory log. See `ports.Reader`."""

    def __init__(self, client: MemoryClient, spec: LaneSpec) -> None:
        self._client = client
        self._log = client.log
        self._spec = spec
        self._group = client.log.group(spec.group)
        self._listener: Listener | None = None
        self._owned: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}  # absent: must be found before anything is delivered
        self._starts: dict[TopicPartition, int] = {}  # where reading began when the partition was assigned
        self._is_paused = False
        self._member = self._join()

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def read(self, limit: int, timeout: timedelta, linger: timedelta) -> RecordBatch:
        del linger  # nothing arrives while this process has its turn
        self._client.at(Point.READ)
        self._heartbeat()
        records: list[StoredRecord] = []
        if not self._is_paused:
            for partition in sorted(filter(self._has_position, self._owned)):
                found = self._log.committed_records(partition, self._positions[partition])
                records.extend(islice(found, limit - len(records)))
        for record in records:
            self._positions[record.partition] = record.offset + 1
        if not records:
            self._client.clock.advance(timeout)
        return _as_batch(self._spec.topic, records)

    def owned(self) -> Set[TopicPartition]:
        return self._owned

    def rewind(self) -> None:
        self._positions.clear()

    def membership(self) -> _Membership:
        return _Membership(self._group.name, self._member)

    def commit(self, next_offsets: NextOffsets) -> None:
        self._client.at(Point.COMMIT)
        self._log.commit_offsets(self._group.name, self._member, next_offsets)
        self._client.at(Point.REPLY)

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False

    def lag(self, done: NextOffsets) -> int | None:
        known = self._owned & self._starts.keys()
        return sum(self._log.stable_end(p) - done.get(p, self._starts[p]) for p in known) if known else None

    def close(self) -> None:
        self._give_up(frozenset(self._owned))
        self._group.leave(self._member)

    def _join(self) -> str:
        return self._group.join(self._log.partitions(self._spec.topic), lambda: self._client.is_frozen)

    def _heartbeat(self) -> None:
        """Hear from the group what has changed."""
        if not self._group.has(self._member):
            lost = frozenset(self._owned)
            self._owned.clear()
            if self._listener is not None:
                self._listener.on_lost(lost)
            self._member = self._join()
        if revoked := self._group.to_revoke(self._member):
            self._give_up(revoked)
            self._group.revoke(self._member)
        for partition in self._group.assign(self._member):
            self._owned.add(partition)
            self._positions.pop(partition, None)
            self._starts.pop(partition, None)

    def _give_up(self, partitions: frozenset[TopicPartition]) -> None:
        if self._listener is not None and partitions:
            self._listener.on_revoke(partitions)
        self._owned -= partitions

    def _has_position(self, partition: TopicPartition) -> bool:
        if partition in self._positions:
            return True
        try:
            committed = self._log.committed(self._group.name, partition)
        except StepError:
            return False
        if committed is None:
            first = 0 if self._spec.start_at is Start.EARLIEST else self._log.stable_end(partition)
            committed = NextOffset(self._starts.get(partition, first))
        self._positions[partition] = committed
        self._starts.setdefault(partition, committed)
        return True


class _TransactionalWriter:
    """A transactional producer of the in-memory log. See `ports.Writer`.

    What is sent reaches the log with the next send or the flush: later than others may think.
    """

    def __init__(self, client: MemoryClient, transactional_id: str) -> None:
        self._client = client
        client.at(Point.INIT)
        self._identity = client.log.take_identity(transactional_id)
        self._queued: list[OutputBatch] = []

    def begin(self) -> None:
        self._client.at(Point.BEGIN)
        self._client.log.begin(self._identity)

    def send(self, outputs: OutputBatch) -> None:
        self._client.at(Point.SEND)
        self._write()
        self._queued.append(outputs)

    def flush(self) -> None:
        self._client.at(Point.FLUSH)
        self._write()

    def prepare(self, next_offsets: NextOffsets, reader: Reader) -> Callable[[], None]:
        membership = reader.membership()
        if not isinstance(membership, _Membership):
            raise TypeError(f"{membership!r} is not of the in-memory log")
        return partial(self._settle, membership, next_offsets)

    def abort(self) -> None:
        self._client.at(Point.ABORT)
        self._queued.clear()
        self._client.log.abort(self._identity)

    def close(self) -> None:
        """Nothing is held."""

    def _settle(self, membership: _Membership, next_offsets: NextOffsets) -> None:
        self._client.at(Point.SEND_OFFSETS)
        self._client.log.add_offsets(self._identity, membership.group, membership.member, next_offsets)
        self._client.at(Point.COMMIT)
        self._client.log.commit(self._identity)
        self._client.at(Point.REPLY)

    def _write(self) -> None:
        while self._queued:
            self._client.log.write(self._identity, self._queued.pop(0))


class _PlainWriter:
    """A producer without transactions. See `ports.Writer`."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    def begin(self) -> None:
        self._client.at(Point.BEGIN)

    def send(self, outputs: OutputBatch) -> None:
        self._client.at(Point.SEND)
        self._client.log.append(outputs)

    def flush(self) -> None:
        self._client.at(Point.FLUSH)

    def prepare(self, next_offsets: NextOffsets, reader: Reader) -> Callable[[], None]:
        return partial(reader.commit, next_offsets)

    def abort(self) -> None:
        self._client.at(Point.ABORT)

    def close(self) -> None:
        """Nothing is held."""


def _as_batch(topic: str, records: Sequence[StoredRecord]) -> RecordBatch:
    return RecordBatch(
        topic,
        np.array([record.partition.partition for record in records], np.int32),
        np.array([record.offset for record in records], np.int64),
        np.array([record.timestamp_ms for record in records], np.int64),
        [record.key for record in records],
        [record.value for record in records],
        [record.headers for record in records],
    )
