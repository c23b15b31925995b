"""Writing for clients: at least once, in order within a partition, keys where the Java clients put them.

Scorers write through their lanes; this is for the senders of features and labels, and for tools.
"""

from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from numpy.typing import NDArray

from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.core.records import OutputBatch
from millrace.kafka.connection import QUIET, ConnectionNotes, partitions_of, topic_names
from millrace.kafka.messages import enqueue
from millrace.process.settings import ClientConfig, KafkaSettings

BY_KEY: Final = -1
"""Partition of a record that goes where its key sends it (murmur2), or anywhere when it has none."""

NOW: Final = 0
"""Timestamp of a record that gets the time of its writing."""

MAX_RECORD_BYTES: Final = 1_000_000
"""Largest value that is sent, a little less than what a broker accepts by default with key and headers."""

_MEETING_SECS: Final = 0.5
"""How long the first record waits for the cluster; afterwards it is queued as ever."""

_ROOM_SECS: Final = 0.1
"""How long to serve deliveries before looking for room in the queue again."""


class Writer:
    """An idempotent producer with a bounded queue. Not thread-safe.

    Records may be written twice only when this process is killed and the caller sends again; within one writer the
    broker removes repetitions and keeps the order of a partition.

    Args:
        kafka: The cluster.
        queue_records: Most records in flight; `write` waits while the queue is full.
        delivery_timeout: A record that the broker has not acknowledged after this time has failed.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        queue_records: int = 100_000,
        delivery_timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._notes = ConnectionNotes()
        self._failed = 0
        self._first_failure: tuple[KafkaError, str] | None = None
        self._timeout = delivery_timeout
        self._has_met = False
        settings: ClientConfig = {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": queue_records,
            "queue.buffering.max.kbytes": 128 * 1024,
            "message.timeout.ms": int(delivery_timeout / timedelta(milliseconds=1)),
            "linger.ms": 20,
            # Python is called for failures only: a callback per record would cost more than the record.
            "delivery.report.only.error": True,
            **QUIET,
        }
        self._producer = Producer({**kafka.client(**settings), "error_cb": self._notes.heard})

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic. Blocks until the cluster answers.

        Raises:
            RequestError: There is no such topic.
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
        """
        return len(partitions_of(self._producer, topic, self._notes, doing=f"writing to {topic!r}"))

    def topics(self) -> frozenset[str]:
        """The topics that this client may see. Blocks and raises as `partitions`."""
        return topic_names(self._producer, self._notes, doing="listing topics")

    def write(self, batch: OutputBatch) -> None:
        """Queue records, waiting while the queue is full.

        A normal return does not prove that they arrived: `flush` does. `partitions` may hold `BY_KEY`, and
        `timestamps_ms` may hold `NOW`.

        Raises:
            RequestError: A record is larger than a producer may send.
            TransientError: Records of this or an earlier call were not acknowledged in time.
            FatalError: The broker refuses this client or these records.
        """
        self._refuse_oversized(batch)
        self._meet_cluster(batch.topic)
        start = 0
        while start < len(batch):
            try:
                start = enqueue(self._producer, batch, start, self._heard_failure)
                self._producer.poll(0 if start >= len(batch) else _ROOM_SECS)
            except (KafkaException, SystemError) as error:
                raise self._explain(error, f"writing to {batch.topic!r}") from error
            self._raise_failure()

    def flush(self) -> None:
        """Wait until every record is acknowledged, at most the delivery timeout; raises as `write`."""
        try:
            # A little longer than the timeout, so that the records' own failures say why.
            left = self._producer.flush(self._timeout.total_seconds() + 1)
        except (KafkaException, SystemError) as error:
            raise self._explain(error, "writing") from error
        self._raise_failure()
        if left:
            raise TransientError(
                f"{left} records were not acknowledged within {self._timeout.total_seconds():g} s",
                remedy="check that the broker runs and is not overloaded, and send again",
            )

    def close(self) -> None:
        """Forget what is not flushed, and release everything. May be called twice."""
        self._producer.purge()
        self._producer.flush(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Flush after a normal end or Ctrl-C, and close in any case."""
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self.flush()
        finally:
            self.close()

    def _meet_cluster(self, topic: str) -> None:
        """Let the client get its producer id before the first record, which would wait half a second for it.

        The client asks for the id whenever it is told of the cluster. The first time it is not connected yet to any
        broker that it was told of, and it would ask again half a second later; the second time it is.
        """
        if self._has_met:
            return
        self._has_met = True
        with suppress(KafkaException):  # The records themselves will say what is wrong.
            for _ in range(2):
                self._producer.list_topics(topic, timeout=_MEETING_SECS)

    def _refuse_oversized(self, batch: OutputBatch) -> None:
        largest = max(map(len, filter(None, batch.values)), default=0)
        if largest > MAX_RECORD_BYTES:
            raise RequestError(
                f"a record of {largest} bytes is too large for {batch.topic!r}",
                remedy=f"send smaller records: {MAX_RECORD_BYTES} bytes is Kafka's own bound",
            )

    def _heard_failure(self, error: KafkaError, record: Message) -> None:
        self._failed += 1
        if self._first_failure is None:
            self._first_failure = (error, str(record.topic()))

    def _raise_failure(self) -> None:
        if self._first_failure is not None:
            (error, topic), count = self._first_failure, self._failed
            self._first_failure, self._failed = None, 0
            raise self._notes.explain(error, f"writing {count} records to {topic!r}")

    def _explain(self, error: KafkaException | SystemError, doing: str) -> MillraceError:
        cause = _kafka_error(error)
        if cause is None:
            raise error
        return self._notes.explain(cause, doing)


def by_key(count: int) -> NDArray[np.int32]:
    """Partitions of `count` records that all go where their keys send them."""
    return np.full(count, BY_KEY, np.int32)


def at_writing(count: int) -> NDArray[np.int64]:
    """Timestamps of `count` records that all get the time of their writing."""
    return np.full(count, NOW, np.int64)


def _kafka_error(error: KafkaException | SystemError) -> KafkaError | None:
    """The Kafka error inside; a fatal one comes as SystemError when a Python callback was pending."""
    inner = error if isinstance(error, KafkaException) else error.__cause__
    found = inner.args[0] if isinstance(inner, KafkaException) else None
    return found if isinstance(found, KafkaError) else None
