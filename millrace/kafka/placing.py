"""Writing with an answer: where each record came to lie.

For doors, whose clients want the coordinates of what they sent, and whose predictions name the record of their request.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import repeat
from operator import length_hint
from typing import Final, TypeAlias

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from numpy.typing import NDArray

from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch
from millrace.kafka.connection import QUIET, ConnectionNotes, Link, await_metadata
from millrace.process.settings import ClientConfig, KafkaSettings

_ROOM_SECS: Final = 0.05
_PROBE: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the records of one batch lie, row by row.

    Attributes:
        partitions: int32, shape (n,).
        offsets: int64, shape (n,).
    """

    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]


OnPlaced: TypeAlias = Callable[[Placed | MillraceError], None]
"""Called once a batch, from `serve`: with its places, or with what kept the first of its records away."""


class PlacingWriter:
    """An idempotent producer that says where every record lies. For one thread.

    Args:
        kafka: The cluster.
        delivery_timeout: A record that the broker has not acknowledged after this time has failed.
        linger: How long a record waits for others to share its way.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        delivery_timeout: timedelta = timedelta(seconds=30),
        linger: timedelta = timedelta(milliseconds=1),
    ) -> None:
        self._notes = ConnectionNotes()
        self._in_flight = 0
        settings: ClientConfig = {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 128 * 1024,
            "message.timeout.ms": round(delivery_timeout / timedelta(milliseconds=1)),
            "linger.ms": linger / timedelta(milliseconds=1),
            "retry.backoff.ms": 10,
            # The topic's own limit decides what is too large.
            "message.max.bytes": 64 * 1024 * 1024,
            **QUIET,
        }
        self._producer = Producer({**kafka.client(**settings), "error_cb": self._notes.heard})

    @property
    def in_flight(self) -> int:
        """Records that were written and are not acknowledged."""
        return self._in_flight

    @property
    def link(self) -> Link:
        """Whether the cluster answered lately."""
        return Link.AWAY if self._notes.away else Link.UP

    def write(self, batch: OutputBatch, on_placed: OnPlaced) -> None:
        """Send records, waiting only while the client's own memory is full. The outcome comes by `serve`.

        `partitions` may hold `millrace.kafka.writing.BY_KEY`.
        """
        count = len(batch)
        held = _Held(batch.topic, count, on_placed)
        if not count:
            held.finish(self._notes)
            return
        self._in_flight += count
        row = 0
        while row < count:
            row = self._enqueue(batch, held, row)

    def serve(self, patience: timedelta) -> None:
        """Hear of outcomes; returns when there were some, or after `patience`."""
        self._producer.poll(patience.total_seconds())

    def probe(self) -> Link:
        """Ask the cluster something, for at most a second, and say whether it answers."""
        try:
            await_metadata(self._producer, None, self._notes, doing="asking the broker", within=_PROBE)
        except MillraceError:
            return Link.AWAY
        self._notes.answered()
        return Link.UP

    def close(self) -> None:
        """Give up what is in flight, which counts as failed, and release everything. May be called twice."""
        self._producer.purge()
        self._producer.flush(1)

    def _enqueue(self, batch: OutputBatch, held: "_Held", start: int) -> int:
        """Put the records from row `start` on into the client's memory as far as there is room; the row to go on with.

        A row that the client refuses counts as one that the broker refused.
        """
        values = iter(batch.values[start:])
        produced = map(
            self._producer.produce,
            repeat(batch.topic),
            values,
            batch.keys[start:],
            batch.partitions[start:].tolist(),
            map(partial, repeat(self._delivered), repeat(held), range(start, len(batch))),
            repeat(None),  # the same callback under its other name
            batch.timestamps_ms[start:].tolist(),
            repeat(None) if batch.headers is None else [each and list(each) for each in batch.headers[start:]],
        )
        try:
            deque(produced, maxlen=0)
        except BufferError:
            self._producer.poll(_ROOM_SECS)
            # The refused record was already taken from the iterator.
            return len(batch) - length_hint(values) - 1
        except KafkaException as error:
            refused = len(batch) - length_hint(values) - 1
            self._delivered(held, refused, error.args[0], None)
            return refused + 1
        return len(batch)

    def _delivered(self, held: "_Held", row: int, error: KafkaError | None, record: Message | None) -> None:
        self._in_flight -= 1
        if error is None and record is not None:
            self._notes.answered()
            held.partitions[row], held.offsets[row] = record.partition() or 0, record.offset() or 0
        else:
            held.error = held.error or error
        held.left -= 1
        if not held.left:
            held.finish(self._notes)


class _Held:
    """A batch until its last record is acknowledged."""

    __slots__ = ("error", "left", "offsets", "on_placed", "partitions", "topic")

    def __init__(self, topic: str, count: int, on_placed: OnPlaced) -> None:
        self.topic = topic
        self.left = count
        self.partitions = np.empty(count, np.int32)
        self.offsets = np.empty(count, np.int64)
        self.error: KafkaError | None = None
        self.on_placed = on_placed

    def finish(self, notes: ConnectionNotes) -> None:
        if self.error is None:
            self.on_placed(Placed(self.partitions, self.offsets))
        else:
            self.on_placed(notes.explain(self.error, f"writing to {self.topic!r}"))
