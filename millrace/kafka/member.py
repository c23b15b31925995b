"""Reading in a consumer group whose offsets lie elsewhere: the group says who reads what, the caller from where."""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position

from millrace.core.errors import FatalError, TransientError
from millrace.core.records import RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.cluster import describe_cluster
from millrace.kafka.connection import QUIET, ConnectionNotes
from millrace.kafka.errors import code_of
from millrace.kafka.messages import to_batch
from millrace.process.settings import ClientConfig, KafkaSettings

_NEWS: Final = frozenset({KafkaError._MAX_POLL_EXCEEDED, KafkaError._AUTO_OFFSET_RESET})


class Member:
    """A member of a consumer group, reading the committed records of one topic. Not thread-safe.

    A partition that the group gives to this member delivers nothing until `place` says from where. What is delivered is
    never committed to the group.

    Args:
        kafka: The cluster.
        topic: An existing topic.
        group: The consumer group.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, group: str) -> None:
        self._topic: Final = topic
        self._doing: Final = f"reading {topic!r}"
        self._notes: Final = ConnectionNotes()
        self._admin: Final = Admin(kafka)
        self._admin.partition_counts([topic])
        self._owned: set[int] = set()
        self._places: dict[int, int] = {}  # where to go as soon as the client lets us
        self._reached: dict[int, int] = {}  # of the partitions that deliver
        settings = {**_SETTINGS, **_protocol(kafka), "group.id": group}
        self._consumer: Final = Consumer({**kafka.client(**settings), "error_cb": self._notes.heard})
        self._consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._calls(self._give_up), on_lost=self._calls(self._give_up)
        )

    def ends(self) -> dict[int, tuple[int, int]]:
        """The first offset of every partition of the topic, and one past the last that a committed reader may see.

        Raises:
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
        """
        ends = self._admin.ends([self._topic])
        return {place.partition: (int(found.start), int(found.stable)) for place, found in ends.items()}

    def owned(self) -> frozenset[int]:
        """The partitions that are this member's. Changes inside `read` only."""
        return frozenset(self._owned)

    def waiting(self) -> frozenset[int]:
        """Those of them that deliver nothing because nobody said from where."""
        return frozenset(self._owned - self._reached.keys() - self._places.keys())

    def place(self, offsets: Mapping[int, int]) -> None:
        """Deliver these partitions from these offsets on; partitions that are not ours any more are passed over."""
        self._places.update({number: offset for number, offset in offsets.items() if number in self._owned})

    def displace(self, partitions: Collection[int]) -> None:
        """Deliver nothing of these partitions until they have a place again."""
        gone = self._owned.intersection(partitions)
        for number in gone:
            self._places.pop(number, None)
            self._reached.pop(number, None)
        self._consumer.pause([Position(self._topic, number) for number in gone])

    def reached(self) -> Mapping[int, int]:
        """By partition that delivers, the offset before which everything was delivered that may be seen."""
        return self._reached

    def read(self, limit: int, timeout: timedelta) -> RecordBatch:
        """At most `limit` records; none when `timeout` passes without any. Must be called regularly.

        Raises:
            TransientError: The broker is away and nothing was read; call again.
            FatalError: The broker refuses this client, or the topic is gone.
        """
        self._go_to_places()
        try:
            polled = self._consumer.consume(1, timeout.total_seconds())
            # Whatever else has come by now: a larger first request would wait until it is full.
            polled += self._consumer.consume(limit - 1, 0) if polled and limit > 1 else []
        except KafkaException as error:
            self.displace(self._owned)  # what was read before the failure is lost with it
            raise self._notes.explain(error, self._doing) from error
        batch = self._placed(to_batch(self._topic, self._without_notices(polled)))
        for place, offset in batch.next_offsets().items():
            self._advance(place.partition, offset)
        return batch

    def lag(self) -> int | None:
        """Records between what was delivered and the end of our partitions, as far as known here, else None."""
        known = [behind for number, reached in self._reached.items() if (behind := self._behind(number, reached)) >= 0]
        return sum(known) if known else None

    def close(self) -> None:
        """Leave the group at once, and release everything. May be called twice."""
        self._consumer.close()

    def _calls(self, hook: Callable[[frozenset[int]], None]) -> Callable[[Consumer, Sequence[Position]], None]:
        return lambda _, changed: hook(frozenset(position.partition for position in changed))

    def _on_assign(self, consumer: Consumer, assigned: Sequence[Position]) -> None:
        # From the end, where nothing comes, and paused at once: where it is to begin is not known here.
        consumer.incremental_assign([Position(self._topic, place.partition, OFFSET_END) for place in assigned])
        consumer.pause(list(assigned))
        self._owned |= {place.partition for place in assigned}

    def _give_up(self, partitions: frozenset[int]) -> None:
        self._owned -= partitions
        for number in partitions:
            self._places.pop(number, None)
            self._reached.pop(number, None)

    def _go_to_places(self) -> None:
        """Seek what has a place; what is assigned so lately that the client cannot yet seek it is tried next time."""
        for number, offset in list(self._places.items()):
            try:
                self._consumer.seek(Position(self._topic, number, offset))
            except KafkaException as error:
                if code_of(error) != KafkaError._STATE:
                    raise self._notes.explain(error, self._doing) from error
                continue
            self._consumer.resume([Position(self._topic, number)])
            self._reached[number] = self._places.pop(number)

    def _without_notices(self, polled: list[Message]) -> list[Message]:
        """Take the ends of partitions and the errors out of what was polled; raise what matters."""
        failures = [(notice, error) for notice in polled if (error := notice.error()) is not None]
        if not failures:
            return polled
        records = [record for record in polled if record.error() is None]
        for notice, error in failures:
            if error.code() == KafkaError._PARTITION_EOF:
                self._advance(notice.partition() or 0, notice.offset() or 0)
                continue
            judged = self._notes.explain(error, self._doing)
            if error.fatal():
                raise FatalError(judged.message, remedy=judged.remedy)
            if error.code() not in _NEWS and not (records and isinstance(judged, TransientError)):
                raise judged
        return records

    def _placed(self, batch: RecordBatch) -> RecordBatch:
        """Without records of partitions that deliver nothing."""
        delivering = np.isin(batch.partitions, list(self._reached))
        return batch if delivering.all() else batch.take(np.flatnonzero(delivering))

    def _advance(self, partition: int, offset: int) -> None:
        if partition in self._reached:
            self._reached[partition] = max(self._reached[partition], offset)

    def _behind(self, partition: int, reached: int) -> int:
        _, end = self._consumer.get_watermark_offsets(Position(self._topic, partition), cached=True)
        return -1 if end < 0 else max(end - reached, 0)


def _protocol(kafka: KafkaSettings) -> ClientConfig:
    """KIP-848 where the broker has it, whose rebalances stop only what moves; the classic protocol's like elsewhere."""
    if "consumer" in describe_cluster(kafka).group_protocols:
        return {"group.protocol": "consumer"}
    return {"partition.assignment.strategy": "cooperative-sticky"}


_SETTINGS: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    # What lies before the oldest record that is left was deleted; there is nothing to wait for.
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 32 * 1024,
    **QUIET,
}
