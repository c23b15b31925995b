"""A log with one appender: it reads what is there, decides, and appends; nobody else can append in its name.

Taking up the `transactional.id` ends whatever an earlier holder had begun and refuses whatever it tries later. So what
is read after that is all there is, and an answer that is decided from it is given once.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millrace.core.errors import FatalError, TransientError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.connection import QUIET, ConnectionNotes, Link
from millrace.kafka.errors import code_of
from millrace.kafka.messages import enqueue
from millrace.kafka.reading import Reader, Until
from millrace.process.settings import ClientConfig, KafkaSettings

RETRAIN_TOPIC: Final = TopicSpec("millrace.retrain-requests", 1, {"cleanup.policy": "delete", "retention.ms": "-1"})
"""The topic of retrain requests and their answers, as it is created where it does not exist."""

_PARTITION: Final = 0
_TRANSACTION: Final = timedelta(seconds=30)
_PATIENCE: Final = timedelta(seconds=60)
_PAUSE_SECS: Final = 0.05
_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log."""

    offset: int
    value: bytes | None


class AppendLog:
    """The records of one key in a topic of one partition, and the right to append to them. Not thread-safe.

    Args:
        kafka: The cluster.
        topic: The topic; created where it does not exist.
        key: The key of the records that are read and written.
        appender: The `transactional.id`; an earlier holder is fenced.

    Raises:
        RequestError: The topic exists with other settings.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, topic: TopicSpec, *, key: str, appender: str) -> None:
        self._kafka = kafka
        self._topic = topic.name
        self._key = key.encode()
        self._doing = f"appending to {topic.name!r} as {appender!r}"
        self._notes = ConnectionNotes()
        self._admin = Admin(kafka)
        self._admin.ensure_topics([topic])
        self._resources = ExitStack()
        self._reader: Reader | None = None
        config = kafka.client(**_SETTINGS, **{"transactional.id": appender})
        self._producer = Producer({**config, "error_cb": self._notes.heard})
        self._call(lambda: self._producer.init_transactions(_PATIENCE.total_seconds()))

    def read_all(self) -> list[Entry]:
        """Every record of the key that was committed before this call; `read` goes on after them.

        Raises:
            TransientError: Somebody's transaction stays open, or no broker answers.
            FatalError: The broker refuses this client.
        """
        end = self._admin.high_watermarks([self._topic])[self._topic][_PARTITION]
        give_up = time.monotonic() + _PATIENCE.total_seconds()
        with Reader(self._kafka, self._topic, until=Until.STOPPED) as probe:
            # Behind an open transaction nothing is readable: wait until it ends.
            while probe.bounds(_PARTITION)[1] < end:
                if time.monotonic() > give_up:
                    raise TransientError(
                        f"{self._topic!r} is held back by an open transaction",
                        remedy="find it with `millrace doctor`; it ends by its timeout at the latest",
                    )
                time.sleep(_PAUSE_SECS)
        found: list[Entry] = []
        following = 0
        with Reader(self._kafka, self._topic) as reader:
            for batch in reader:
                following = int(batch.offsets[-1]) + 1
                found += self._mine(batch.keys, batch.offsets.tolist(), batch.values)
        self._reader = self._resources.enter_context(
            Reader(self._kafka, self._topic, start={_PARTITION: following}, until=Until.STOPPED)
        )
        return found

    def read(self, timeout: timedelta) -> list[Entry]:
        """Records of the key that came since, of this appender too; none when `timeout` passes without any.

        Raises:
            TransientError: The broker cannot be reached for now; call again.
            FatalError: The broker refuses this client, or the topic is gone.
        """
        if self._reader is None:
            return self.read_all()
        batch = self._reader.read(timeout=timeout)
        return self._mine(batch.keys, batch.offsets.tolist(), batch.values)

    @property
    def link(self) -> Link:
        """Whether the cluster answered lately."""
        return Link.UP if self._reader is None else self._reader.link

    def append(self, values: Sequence[bytes], *, beside: OutputBatch | None = None) -> list[Entry]:
        """Write records, all or none; blocks until they are committed. Returns them with their offsets.

        Args:
            values: Values of the records of the log.
            beside: Records of another topic, in the same transaction.

        Raises:
            TransientError: The outcome is not known. Open a new log: it shows what became of them.
            FatalError: Another appender has taken over, or the broker refuses this client.
        """
        offsets: list[int] = []

        def delivered(error: KafkaError | None, record: Message) -> None:
            if error is None:
                offsets.append(record.offset() or 0)

        def write() -> None:
            self._producer.begin_transaction()
            if beside is not None:
                self._enqueue(beside)
            for value in values:
                self._producer.produce(self._topic, value, self._key, partition=_PARTITION, on_delivery=delivered)
            self._producer.flush(_TRANSACTION.total_seconds())
            self._producer.commit_transaction(_TRANSACTION.total_seconds())

        self._call(write)
        return [Entry(offset, value) for offset, value in zip(offsets, values, strict=True)]

    def _enqueue(self, records: OutputBatch) -> None:
        start = 0
        while start < len(records):
            start = enqueue(self._producer, records, start)
            self._producer.poll(0 if start == len(records) else _PAUSE_SECS)

    def close(self) -> None:
        """Let go of the connections; what is not committed is forgotten. Twice is as good as once."""
        self._resources.close()
        self._producer.purge()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mine(
        self, keys: Sequence[bytes | None], offsets: Sequence[int], values: Sequence[bytes | None]
    ) -> list[Entry]:
        return [
            Entry(offset, value) for key, offset, value in zip(keys, offsets, values, strict=True) if key == self._key
        ]

    def _call(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except (KafkaException, SystemError) as error:
            # SystemError is what the client makes of a fatal error while delivery reports wait to be called.
            cause = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(cause, KafkaException):
                raise
            if code_of(cause) in _FENCED:
                raise FatalError(f"{self._doing}: another process has taken over", remedy="run one of them") from error
            raise self._notes.explain(cause, self._doing) from error


_SETTINGS: Final[ClientConfig] = {
    **QUIET,
    "transaction.timeout.ms": int(_TRANSACTION.total_seconds() * 1000),
    "retry.backoff.ms": 5,
}
