"""Reading for clients: committed records of one topic, without a consumer group.

Nothing is committed, so a reader disturbs nobody and may begin anywhere.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Final, Self, TypeAlias

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from millrace.core.errors import RequestError, TransientError
from millrace.core.records import Coordinates, RecordBatch
from millrace.kafka.connection import QUIET, READER_GROUP, ConnectionNotes, Link, partitions_of
from millrace.kafka.messages import to_batch
from millrace.process.settings import ClientConfig, KafkaSettings


class Position(StrEnum):
    """Where to begin, in words."""

    EARLIEST = "earliest"
    """With the oldest record that the topic still has."""
    LATEST = "latest"
    """With the next record that is written."""


Start: TypeAlias = Position | datetime | Mapping[int, int]
"""Where to begin: a position, a time (with its zone; the first record at or after it), or offsets by partition, which
also restrict the reading to these partitions."""


class Until(StrEnum):
    """Where to stop."""

    NOW = "now"
    """After the last record that is readable when reading begins."""
    STOPPED = "stopped"
    """Never: wait for further records."""


_ANSWER: Final = 10.0
"""Seconds to wait for the cluster's answer to one question."""

_PAUSE: Final = 0.05
"""Seconds until an answer that was not ready is asked for again."""

_PROBE: Final = 0.2
"""Seconds to wait for a cluster that is away."""

_SILENCE: Final = timedelta(seconds=30)
"""A finite reading that gets no record for so long has lost its broker."""


class Reader:
    """Reads one topic. Not thread-safe. Records of aborted and of open transactions are never delivered.

    Args:
        kafka: The cluster.
        topic: An existing topic.
        start: Where to begin.
        until: Where to stop.
        partitions: Only these partitions; all that the topic has now where absent.
        group: A group to stand for in `membership`; nothing is ever committed under the default one.

    Raises:
        RequestError: There is no such topic or partition.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        start: Start = Position.EARLIEST,
        until: Until = Until.NOW,
        partitions: Sequence[int] | None = None,
        group: str = READER_GROUP,
    ) -> None:
        self._topic = topic
        self._doing = f"reading {topic!r}"
        self._notes = ConnectionNotes()
        self._consumer = Consumer({**kafka.client(**{**_SETTINGS, "group.id": group}), "error_cb": self._notes.heard})
        try:
            chosen = self._choose(
                partitions if partitions is not None or not isinstance(start, Mapping) else tuple(start)
            )
            bounds = {number: self.bounds(number) for number in chosen}
            begins = self._begins(start, bounds)
            self._ends = _ends(bounds) if until is Until.NOW else None
            self._next: dict[int, int] = dict(begins)
            self._end_seen: dict[int, int] = {}
            self._pending = {
                number for number in chosen if until is Until.STOPPED or begins[number] < bounds[number][1]
            }
            read = sorted(self._pending)
            self._consumer.assign([TopicPartition(topic, number, begins[number]) for number in read])
        except KafkaException as error:
            self._consumer.close()
            raise self._notes.explain(error, self._doing) from error
        except BaseException:
            self._consumer.close()
            raise

    @property
    def finished(self) -> bool:
        """Whether every record up to the end was delivered. Never true for a reader that is to be stopped."""
        return self._ends is not None and not self._pending

    @property
    def link(self) -> Link:
        """Whether the cluster answered lately. While it is away, `read` gives nothing and goes on when it is back."""
        return Link.AWAY if self._notes.away else Link.UP

    def reached(self, partition: int) -> int:
        """The offset before which everything that a committed reader may see has been delivered."""
        return max(self._end_seen.get(partition, 0), self._next[partition])

    def read(self, limit: int = 1_000, timeout: timedelta = timedelta(milliseconds=200)) -> RecordBatch:
        """At most `limit` records; none when `timeout` passes without any.

        Raises:
            TransientError: The broker cannot be reached for now; call again.
            FatalError: The broker refuses this client, or the topic is gone.
        """
        if self.finished:
            return RecordBatch.empty(self._topic)
        try:
            polled = self._consumer.consume(1, timeout.total_seconds())
            # Whatever else has come by now: a larger first request would wait until it is full.
            polled += self._consumer.consume(limit - 1, 0) if polled and limit > 1 else []
            self._note_link(polled)
        except KafkaException as error:
            raise self._notes.explain(error, self._doing) from error
        batch = to_batch(self._topic, self._without_errors(polled))
        self._next.update((p.partition, offset) for p, offset in batch.next_offsets().items())
        return self._bounded(batch)

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset of a partition, and one past the last that a committed reader may see.

        Raises:
            TransientError: No broker answers, or the partition has no leader for longer than that takes.
            FatalError: The broker refuses this client.
        """
        give_up = time.monotonic() + _ANSWER
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), _ANSWER)
            except KafkaException as error:
                explained = self._notes.explain(error, self._doing)
                if not isinstance(explained, TransientError) or time.monotonic() > give_up:
                    raise explained from error
                time.sleep(_PAUSE)  # a new topic's leader is elected within moments
            else:
                return low, high

    def __iter__(self) -> Iterator[RecordBatch]:
        """Batches of records up to the end, none of them empty. Raises as `batches`."""
        return self.batches()

    def batches(self, limit: int = 1_000) -> Iterator[RecordBatch]:
        """Batches of at most `limit` records up to the end, none of them empty.

        Raises:
            TransientError: A reader that has an end got no record for 30 s.
            FatalError: As for `read`.
        """
        silence = timedelta(seconds=1)
        silent = timedelta()
        while not self.finished:
            batch = self.read(limit, silence)
            if len(batch):
                silent = timedelta()
                yield batch
            elif self._ends is not None:
                silent += silence
            if silent >= _SILENCE:
                raise TransientError(
                    f"{self._doing}: no record came for {_SILENCE.total_seconds():g} s before the end was reached",
                    remedy="check that the broker runs, and read again",
                )

    def membership(self) -> object:
        """What a producer needs to commit offsets of the group in a transaction; the group may have no members."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Release everything. May be called twice."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _note_link(self, polled: Sequence[Message]) -> None:
        if not self._notes.away:
            return
        if not polled:
            # Nothing to read is no answer; this asks for one, and raises while there is none.
            try:
                self._consumer.list_topics(self._topic, timeout=_PROBE)
            except KafkaException:
                return
        self._notes.answered()

    def _choose(self, wanted: Sequence[int] | None) -> tuple[int, ...]:
        existing = partitions_of(self._consumer, self._topic, self._notes, doing=self._doing)
        if wanted is None:
            return existing
        if missing := set(wanted) - set(existing):
            raise RequestError(
                f"{self._doing}: it has no partition {min(missing)}",
                remedy=f"its partitions are 0 to {len(existing) - 1}",
            )
        return tuple(wanted)

    def _begins(self, start: Start, bounds: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        match start:
            case Position.EARLIEST:
                return {number: low for number, (low, _) in bounds.items()}
            case Position.LATEST:
                return {number: high for number, (_, high) in bounds.items()}
            case datetime():
                since = round(start.timestamp() * 1000)
                asked = [TopicPartition(self._topic, number, since) for number in bounds]
                found = self._consumer.offsets_for_times(asked, timeout=_ANSWER)
                # A negative offset says that no record is that young.
                return {at.partition: at.offset if at.offset >= 0 else bounds[at.partition][1] for at in found}
            case _:
                return {number: max(start[number], bounds[number][0]) for number in bounds}

    def _without_errors(self, polled: list[Message]) -> list[Message]:
        """Take the ends of partitions and the errors out of what was polled."""
        if not any(map(Message.error, polled)):
            return polled
        for notice in polled:
            error, number = notice.error(), notice.partition()
            if error is not None and error.code() == KafkaError._PARTITION_EOF and number is not None:
                self._end_seen[number] = notice.offset() or 0
                self._reached(number)
            elif error is not None and not isinstance(
                judged := self._notes.explain(error, self._doing), TransientError
            ):
                raise judged
        return [record for record in polled if record.error() is None]

    def _bounded(self, batch: RecordBatch) -> RecordBatch:
        """Without the records that were written after the reading began, where the reading has an end."""
        if self._ends is None or not len(batch):
            return batch
        limits = self._ends[batch.partitions]
        for number in np.unique(batch.partitions[batch.offsets >= limits - 1]).tolist():
            self._reached(number)
        inside = batch.offsets < limits
        return batch if inside.all() else batch.take(np.flatnonzero(inside))

    def _reached(self, partition: int) -> None:
        if self._ends is not None and partition in self._pending:
            self._pending.remove(partition)
            self._consumer.pause([TopicPartition(self._topic, partition)])


def _ends(bounds: Mapping[int, tuple[int, int]]) -> NDArray[np.int64]:
    """The end of each partition, at the index of its number."""
    ends = np.zeros(max(bounds, default=-1) + 1, np.int64)
    for number, (_, end) in bounds.items():
        ends[number] = end
    return ends


def find(kafka: KafkaSettings, coordinates: Coordinates) -> RecordBatch:
    """The one record at `coordinates`, as a batch of one.

    Raises:
        RequestError: There is no topic or partition of that name, or no such record: deleted, not yet written, aborted.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    place = {coordinates.partition: coordinates.offset}
    with Reader(kafka, coordinates.topic, start=place) as reader:
        low, high = reader.bounds(coordinates.partition)
        if coordinates.offset < low:
            raise RequestError(
                f"{coordinates} was deleted: {coordinates.topic_partition} begins at offset {low} now",
                remedy="a longer retention.ms keeps records longer",
            )
        if coordinates.offset >= high:
            raise RequestError(
                f"{coordinates} is not written yet: {coordinates.topic_partition} ends at offset {high}",
                remedy="check the offset",
            )
        for batch in reader:
            first = batch.take(slice(0, 1))
            if first.offsets[0] == coordinates.offset:
                return first
            break
    raise RequestError(
        f"at {coordinates} is no record that a reader may see: it was compacted away, aborted, or marks a transaction",
        remedy="check the offset",
    )


_SETTINGS: Final[ClientConfig] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32 * 1024,
    **QUIET,
}
