"""The logs beside the lanes: labels, the state that was committed last, and the evidence that was judged before."""

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import numpy as np

from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch, TopicPartition
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Reader, Until
from millrace.process.settings import KafkaSettings

_PATIENCE_SECS: Final = 30.0
"""Longer than the transaction timeout of a lane and the interval in which the broker looks for such transactions."""

_PAUSE_SECS: Final = 0.05
_AT_ONCE: Final = timedelta(0)


class LabelTopic:
    """Reads the labels of some partitions. See `millrace_auditor.logic.ports.LabelLog`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._reader: Reader | None = None
        self._ends: dict[int, int] = {}

    def start(self, next_offsets: Mapping[int, int]) -> None:
        """Read exactly these partitions from now on, each from its offset."""
        self.close()
        self._ends = {}
        if next_offsets:
            self._reader = Reader(self._kafka, self._topic, start=dict(next_offsets), until=Until.STOPPED)
            self.look(next_offsets)

    def read(self, limit: int, timeout: timedelta) -> RecordBatch:
        """Records as they come; none when the time passes without any."""
        return RecordBatch.empty(self._topic) if self._reader is None else self._reader.read(limit, timeout)

    def look(self, partitions: Iterable[int]) -> None:
        """Take note of where these partitions end now: one question each."""
        if self._reader is not None:
            self._ends |= {number: self._reader.bounds(number)[1] for number in partitions}

    def is_caught_up(self, partition: int) -> bool:
        """Whether everything that was there at the last look has been delivered."""
        return self._reader is None or self._reader.reached(partition) >= self._ends[partition]

    def close(self) -> None:
        """Release the connection. May be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class StateTopic:
    """Reads committed state. See `millrace_auditor.logic.ports.Shelf`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._admin = Admin(kafka)

    def load(self, partition: int) -> Mapping[bytes, bytes]:
        """The newest value of every key.

        The offsets of a lane and the snapshot beside them are committed together, but become readable one after the
        other: as long as a transaction is open here, the snapshot that belongs to the offsets may still be hidden.
        """
        self._wait_until_settled(TopicPartition(self._topic, partition))
        newest: dict[bytes, bytes] = {}
        with Reader(self._kafka, self._topic, partitions=[partition]) as reader:
            for batch in reader:
                newest.update(
                    (key, value) for key, value in zip(batch.keys, batch.values, strict=True) if key and value
                )
        return newest

    def _wait_until_settled(self, partition: TopicPartition) -> None:
        give_up = time.monotonic() + _PATIENCE_SECS
        while self._admin.ends([self._topic])[partition].has_open_transaction:
            if time.monotonic() > give_up:
                raise TransientError(
                    f"a transaction of an earlier auditor is still open on {partition}",
                    remedy="wait for the broker to abort it, or look for another auditor of this deployment",
                )
            time.sleep(_PAUSE_SECS)


class AnswerTopic:
    """Reads the records of one model in the topic of retrain requests. See `millrace_auditor.logic.ports.AnswerLog`."""

    def __init__(self, kafka: KafkaSettings, topic: str, model: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._key = model.encode()
        self._reader: Reader | None = None
        self._next_offset = 0

    @property
    def next_offset(self) -> int:
        """Where to go on after what was read."""
        return self._next_offset

    def start(self, next_offset: int) -> None:
        """Read from this offset on."""
        self.close()
        self._next_offset = next_offset
        self._reader = Reader(self._kafka, self._topic, start={0: next_offset}, until=Until.STOPPED)

    def read(self) -> list[bytes | None]:
        """The values that have come since."""
        return self._mine(
            RecordBatch.empty(self._topic) if self._reader is None else self._reader.read(timeout=_AT_ONCE)
        )

    def read_until_now(self) -> list[bytes | None]:
        """All values up to what is the end when it is called."""
        with Reader(self._kafka, self._topic, start={0: self._next_offset}) as reader:
            values = self._mine(RecordBatch.concat([RecordBatch.empty(self._topic), *reader]))
        self.start(self._next_offset)
        return values

    def close(self) -> None:
        """Release the connection. May be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _mine(self, records: RecordBatch) -> list[bytes | None]:
        if len(records):
            self._next_offset = int(records.offsets[-1]) + 1
        return [value for key, value in zip(records.keys, records.values, strict=True) if key == self._key]


class EvidenceTopic:
    """Reads evidence again. See `millrace_auditor.logic.ports.EvidenceLog`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic

    def until(self, next_offset: int) -> RecordBatch:
        """All records of the only partition before this offset that compaction has left."""
        with Reader(self._kafka, self._topic, partitions=[0]) as reader:
            batches = [RecordBatch.empty(self._topic), *reader]
        records = RecordBatch.concat(batches)
        return records.take(np.flatnonzero(records.offsets < next_offset))
