"""Moving records of a topic to other topics once: read to the end, write, remember; all or nothing per step.

Unlike a lane this has one worker and an end. What was moved is remembered as the offsets of a consumer group that never
has members, committed in the transaction that writes.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as Position

from millrace.core.errors import FatalError, MillraceError, TransientError
from millrace.core.records import NextOffsets, OutputBatch, RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.connection import QUIET, ConnectionNotes
from millrace.kafka.errors import code_of
from millrace.kafka.messages import enqueue
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings

_TRANSACTION: Final = timedelta(seconds=30)
_ANSWER: Final = 30.0
_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


class Mover:
    """One pass over a topic. Opening it ends an earlier mover of the same name. Not thread-safe.

    Args:
        kafka: The cluster.
        topic: What to read.
        name: Names the mover, and the group that remembers how far it came.
        begin: Where to begin by partition; where absent, the oldest record.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, name: str, begin: NextOffsets) -> None:
        self._topic = topic
        self._name = name
        self._notes = ConnectionNotes()
        settings = kafka.client(
            **{
                "transactional.id": name,
                "transaction.timeout.ms": int(_TRANSACTION / timedelta(milliseconds=1)),
                "retry.backoff.ms": 5,
                **QUIET,
            }
        )
        ends = Admin(kafka).ends([topic])
        start = {at.partition: max(begin.get(at, end.start), end.start) for at, end in ends.items()}
        self._reader = Reader(kafka, topic, start=start, group=name)
        try:
            self._producer = Producer({**settings, "error_cb": self._notes.heard})
            self._producer.init_transactions(_ANSWER)
        except KafkaException as error:
            self._reader.close()
            raise self._explain(error, f"taking over {name}") from error

    def __iter__(self) -> Iterator[RecordBatch]:
        """Batches of records up to the end as it was when the mover was opened. Raises as `Reader`."""
        return iter(self._reader)

    def move(self, outputs: Sequence[OutputBatch], next_offsets: NextOffsets) -> None:
        """Write `outputs` and remember `next_offsets`, both or neither. Blocks until the broker has answered.

        Raises:
            TransientError: Nothing was written; a new mover goes on from there.
            FatalError: Another mover of this name took over, or the broker refuses; nothing was written.
        """
        doing = f"moving records of {self._topic!r}"
        try:
            self._producer.begin_transaction()
            for batch in outputs:
                self._write(batch)
            positions = [Position(at.topic, at.partition, offset) for at, offset in next_offsets.items()]
            self._producer.send_offsets_to_transaction(positions, self._reader.membership(), _ANSWER)
            self._producer.commit_transaction(_ANSWER)
        except KafkaException as error:
            raise self._explain(error, doing) from error

    def close(self) -> None:
        """Abort what is open and release everything. May be called twice."""
        self._producer.purge()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, batch: OutputBatch) -> None:
        start = 0
        while start < len(batch):
            start = enqueue(self._producer, batch, start)
            if start < len(batch) and self._producer.flush(_ANSWER):
                raise TransientError(f"writing to {batch.topic!r}: no answer from the broker", remedy="try again")

    def _explain(self, error: KafkaException, doing: str) -> MillraceError:
        if code_of(error) in _FENCED:
            return FatalError(f"{doing}: another process does the same", remedy="let that one finish")
        return self._notes.explain(error, doing)


def moved(kafka: KafkaSettings, names: Sequence[str]) -> Mapping[str, NextOffsets]:
    """How far movers came: one past the last offset that each has settled, by name and partition."""
    admin = Admin(kafka)
    return {name: admin.committed(name) for name in names}
