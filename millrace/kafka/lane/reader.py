"""The reader of a lane over the real client: a member of a consumer group."""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

from collections.abc import Callable, Sequence, Set
from datetime import timedelta
from typing import Any, Final

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position

from millrace.core.errors import RequestError, TransientError
from millrace.core.records import NextOffset, NextOffsets, RecordBatch, TopicPartition
from millrace.kafka.errors import code_of, from_kafka
from millrace.kafka.lane.ports import Listener
from millrace.kafka.lane.producing import CLIENT_LOG
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.triage import Recovery, StepError, as_fatal, is_final, kafka_error
from millrace.kafka.messages import to_batch
from millrace.process.deployment import GroupProtocol, Start
from millrace.process.settings import ClientConfig, KafkaSettings

PATIENCE: Final = timedelta(seconds=3)
"""How long one read waits for the committed offsets; it is the next read that asks again."""

_NEWS: Final = frozenset({KafkaError._MAX_POLL_EXCEEDED, KafkaError._PARTITION_EOF})
"""Reported as errors, but no more than news: the assignment hooks tell the rest."""

_NOT_YET: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # also while another member's transaction is pending
        KafkaError._STATE,  # assigned, but not being fetched yet
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
"""Why committed offsets may be unknown for now. A member that was removed learns it by reading on."""

_START: Final = {Start.EARLIEST: OFFSET_BEGINNING, Start.LATEST: OFFSET_END}


class KafkaReader:
    """A member of the lane's consumer group. See `ports.Reader`."""

    def __init__(self, kafka: KafkaSettings, spec: LaneSpec) -> None:
        self._kafka = kafka
        self._spec = spec
        self._protocol = spec.group_protocol
        self._listener: Listener | None = None
        self._owned: set[TopicPartition] = set()
        self._stale: set[TopicPartition] = set()  # must go back to the committed offset before it delivers again
        self._origin: dict[TopicPartition, int] = {}  # the first offset read since the partition was assigned
        self._next = np.full(0, -1, np.int64)  # by partition: one past the last offset read
        self._paused = False
        self._was_assigned = False
        self._reported: list[KafkaError] = []
        self._consumer = self._join()

    def listen(self, listener: Listener) -> None:
        """See `ports.Reader`."""
        self._listener = listener

    def read(self, limit: int, timeout: timedelta, linger: timedelta) -> RecordBatch:
        """See `ports.Reader`."""
        self._go_back()
        self._reported.clear()
        batch, errors = self._fetch(limit, timeout, linger)
        if errors := [*self._reported, *errors]:
            self._judge(errors, has_records=len(batch) > 0)
        return self._delivered(batch)

    def owned(self) -> Set[TopicPartition]:
        """See `ports.Reader`."""
        return self._owned

    def rewind(self) -> None:
        """See `ports.Reader`."""
        self._stale |= self._owned & self._origin.keys()  # what was never read still begins at the committed offset

    def membership(self) -> object:
        """See `ports.Reader`."""
        return self._consumer.consumer_group_metadata()

    def commit(self, next_offsets: NextOffsets) -> None:
        """See `ports.Reader`."""
        try:
            self._consumer.commit(offsets=positions(next_offsets), asynchronous=False)
        except KafkaException as error:
            raise StepError(Recovery.ABORT, from_kafka(error, f"committing offsets of {self._spec.group}")) from error

    def pause(self) -> None:
        """See `ports.Reader`."""
        self._paused = True
        self._consumer.pause([Position(p.topic, p.partition) for p in self._owned])

    def resume(self) -> None:
        """See `ports.Reader`."""
        self._paused = False
        self._consumer.resume([Position(p.topic, p.partition) for p in self._owned])

    def lag(self, done: NextOffsets) -> int | None:
        """See `ports.Reader`."""
        known = [behind for p in self._owned if (behind := self._behind(p, done.get(p))) is not None]
        return sum(known) if known else None

    def close(self) -> None:
        """See `ports.Reader`."""
        self._consumer.close()
        self._owned.clear()

    def _fetch(self, limit: int, timeout: timedelta, linger: timedelta) -> tuple[RecordBatch, list[KafkaError]]:
        """What the client has, and what it reports among the records. The hooks are called inside."""
        messages: list[Message] = []
        errors: list[KafkaError] = []
        try:
            messages += self._consumer.consume(1, timeout.total_seconds())
            if messages and limit > 1:
                messages += self._consumer.consume(limit - 1, linger.total_seconds())
        except KafkaException as error:
            errors.append(kafka_error(error))
        errors += filter(None, map(Message.error, messages))
        if errors:
            messages = [message for message in messages if message.error() is None]
        return to_batch(self._spec.topic, messages), errors

    def _connect(self, config: ClientConfig) -> Consumer:
        callbacks: dict[str, Any] = {"error_cb": self._reported.append, "logger": CLIENT_LOG}
        return Consumer({**config, **callbacks})

    def _join(self) -> Consumer:
        config: ClientConfig = {
            "group.id": self._spec.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": self._spec.start_at.value,
            # With the defaults, a full queue stops fetching for a second, and 64 MiB lie in it.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32 * 1024,
            # After a rewind the fetch in flight has to come back first, which waits this long for records to come.
            "fetch.wait.max.ms": 100,
            "log.connection.close": False,
            **self._group_config(),
        }
        consumer = self._connect(self._kafka.client(**config))
        consumer.subscribe(
            [self._spec.topic],
            on_assign=self._calls(self._on_assign),
            on_revoke=self._calls(self._on_revoke),
            on_lost=self._calls(self._on_lost),
        )
        return consumer

    def _group_config(self) -> ClientConfig:
        if self._protocol is not GroupProtocol.CLASSIC:
            return {"group.protocol": "consumer"}
        config: ClientConfig = {
            "group.protocol": "classic",
            "partition.assignment.strategy": "cooperative-sticky",
        }
        if self._spec.session_timeout is not None:
            milliseconds = round(self._spec.session_timeout.total_seconds() * 1000)
            config |= {"session.timeout.ms": milliseconds, "heartbeat.interval.ms": max(milliseconds // 4, 100)}
        return config

    def _calls(
        self, hook: Callable[[frozenset[TopicPartition]], None]
    ) -> Callable[[Consumer, Sequence[Position]], None]:
        def callback(_: Consumer, changed: Sequence[Position]) -> None:
            hook(frozenset(TopicPartition(p.topic, p.partition) for p in changed))

        return callback

    def _on_assign(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            self._origin.pop(partition, None)
        self._owned |= partitions
        self._was_assigned = True
        # Positions of an earlier ownership say nothing about this one.
        size = max((p.partition for p in partitions), default=-1) + 1
        if size > len(self._next):
            self._next = np.concatenate([self._next, np.full(size - len(self._next), -1, np.int64)])
        self._next[[p.partition for p in partitions]] = -1

    def _on_revoke(self, partitions: frozenset[TopicPartition]) -> None:
        if self._listener is not None:
            self._listener.on_revoke(partitions)
        self._give_up(partitions)

    def _on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self._give_up(partitions)
        if self._listener is not None:
            self._listener.on_lost(partitions)

    def _give_up(self, partitions: frozenset[TopicPartition]) -> None:
        self._owned -= partitions
        # Should one come back before this read ends, then nobody could tell its records from before and after.
        self._stale |= partitions

    def _go_back(self) -> None:
        """Seek every stale partition to its committed offset; what cannot be done now stays stale."""
        self._stale &= self._owned
        if not self._stale:
            return
        stale = [Position(p.topic, p.partition) for p in self._stale]
        try:
            for position in self._consumer.committed(stale, timeout=PATIENCE.total_seconds()):
                self._seek(position)
        except KafkaException as error:
            if code_of(error) not in _NOT_YET:
                raise from_kafka(error, f"reading the committed offsets of {self._spec.group}") from error

    def _seek(self, committed: Position) -> None:
        if committed.error is not None:
            raise KafkaException(committed.error)
        partition = TopicPartition(committed.topic, committed.partition)
        target = committed.offset if committed.offset >= 0 else self._origin.get(partition, _START[self._spec.start_at])
        self._consumer.seek(Position(partition.topic, partition.partition, target))
        self._next[partition.partition] = target
        self._stale.discard(partition)

    def _delivered(self, batch: RecordBatch) -> RecordBatch:
        """The records of the batch that may be delivered, remembered as read."""
        if self._stale:
            gone = np.fromiter((p.partition for p in self._stale), np.int32)
            batch = batch.take(np.flatnonzero(~np.isin(batch.partitions, gone)))
        if self._paused and len(batch):
            self._unread(batch)
            return RecordBatch.empty(batch.topic)
        self._next[batch.partitions] = batch.offsets + 1  # of equal indexes the last one wins, which is the highest
        for partition in self._owned - self._origin.keys():
            rows = np.flatnonzero(batch.partitions == partition.partition)
            if len(rows):
                self._origin[partition] = int(batch.offsets[rows[0]])
        return batch

    def _unread(self, batch: RecordBatch) -> None:
        """Put back what a new assignment brought while we are paused, and pause that, too."""
        partitions, rows = np.unique(batch.partitions, return_index=True)
        for partition, row in zip(partitions.tolist(), rows.tolist(), strict=True):
            self._consumer.seek(Position(batch.topic, partition, int(batch.offsets[row])))
        self.pause()

    def _behind(self, partition: TopicPartition, done: NextOffset | None) -> int | None:
        position = Position(partition.topic, partition.partition)
        _, end = self._consumer.get_watermark_offsets(position, cached=True)
        read = int(self._next[partition.partition])
        if end < 0 or read < 0:
            return None
        if done is None:
            done = NextOffset(self._origin[partition])
        if done == read:
            # Everything read is done. The client's position is also past the markers of transactions that follow.
            done = NextOffset(max(done, self._consumer.position([position])[0].offset))
        return max(end - done, 0)

    def _judge(self, errors: Sequence[KafkaError], *, has_records: bool) -> None:
        """Raise the worst of what the client reports; a broker that is away matters only when it gave us nothing."""
        for error in errors:
            if self._may_fall_back(error):
                self._fall_back()
                return
            judged = from_kafka(error, f"reading {self._spec.topic}")
            if isinstance(judged, RequestError) or is_final(error):
                raise as_fatal(judged)
            if error.code() not in _NEWS and not has_records:
                raise TransientError(judged.message, remedy=judged.remedy)

    def _may_fall_back(self, error: KafkaError) -> bool:
        """Whether the error can mean that the broker does not know KIP-848, which it says only when asked to assign."""
        return (
            self._protocol is GroupProtocol.AUTO
            and not self._was_assigned
            and error.code() in {KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE, KafkaError._FATAL}
        )

    def _fall_back(self) -> None:
        """The broker does not know KIP-848: join by the classic protocol instead."""
        CLIENT_LOG.warning("group %s: the broker has no KIP-848; joining by classic", self._spec.group)
        self._consumer.close()
        self._protocol = GroupProtocol.CLASSIC
        self._consumer = self._join()


def positions(next_offsets: NextOffsets) -> list[Position]:
    """Offsets to commit, as the client takes them."""
    return [Position(p.topic, p.partition, offset) for p, offset in next_offsets.items()]
