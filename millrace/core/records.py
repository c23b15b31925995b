"""Records as columns, and the coordinates that name one record.

A micro-batch is a `RecordBatch` from the moment it is polled: one sequence per column, all of one length. Nothing here
touches a record by itself; code that must (dead letters, explanations) asks for row `i`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NewType, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError

Offset = NewType("Offset", int)
"""The offset of one record in its partition."""

NextOffset = NewType("NextOffset", int)
"""The offset to commit: one past the last record that is done."""

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_COORDINATES: Final = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)-(?P<partition>\d+)-(?P<offset>\d+)(?:\.(?P<row>\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True, order=True)
class Coordinates:
    """Where a record lies in the log. A record without an id of its own is known by its coordinates.

    `row` counts the rows of a record that carries many (Arrow IPC); other records have row 0 and do not write it.

    >>> str(Coordinates("weather.features", 3, 1042))
    'weather.features-3-1042'
    >>> Coordinates.parse("weather.features-3-1042.7").row
    7
    """

    topic: str
    partition: int
    offset: int
    row: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read coordinates as `str()` writes them.

        Raises:
            RequestError: The text is not of the form topic-partition-offset or topic-partition-offset.row.
        """
        match = _COORDINATES.fullmatch(text)
        if match is None:
            raise RequestError(
                f"{text!r} does not name a record",
                remedy="write TOPIC-PARTITION-OFFSET, for example weather.features-3-1042",
            )
        return cls(match["topic"], int(match["partition"]), int(match["offset"]), int(match["row"] or 0))

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition that holds the record."""
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        row = f".{self.row}" if self.row else ""
        return f"{self.topic}-{self.partition}-{self.offset}{row}"


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one topic as columns, in the order in which each partition holds them.

    Attributes:
        topic: The topic of all records.
        partitions: int32, shape (n,).
        offsets: int64, shape (n,); ascending within each partition.
        timestamps_ms: int64, shape (n,); the record's timestamp, milliseconds since 1970, -1 where it has none.
        keys: Original key bytes, or None.
        values: Original value bytes, or None for a tombstone.
        headers: Original headers, or None for a record without any.
    """

    topic: str
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]

    @classmethod
    def empty(cls, topic: str) -> Self:
        """A batch without records."""
        return cls(topic, np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), (), (), ())

    def __len__(self) -> int:
        return len(self.offsets)

    def coordinates(self, row: int) -> Coordinates:
        """The coordinates of the record in row `row`."""
        return Coordinates(self.topic, int(self.partitions[row]), int(self.offsets[row]))

    def take(self, rows: NDArray[np.intp] | slice) -> Self:
        """The records of these rows, in this order. A slice shares memory with this batch."""
        if isinstance(rows, slice):
            keys, values, headers = self.keys[rows], self.values[rows], self.headers[rows]
        else:
            index = rows.tolist()
            keys = list(map(self.keys.__getitem__, index))
            values = list(map(self.values.__getitem__, index))
            headers = list(map(self.headers.__getitem__, index))
        return type(self)(
            self.topic, self.partitions[rows], self.offsets[rows], self.timestamps_ms[rows], keys, values, headers
        )

    @classmethod
    def concat(cls, batches: Sequence[Self]) -> Self:
        """All records of batches of one topic, in order. `batches` must not be empty."""
        first = batches[0]
        if len(batches) == 1:
            return first
        return cls(
            first.topic,
            np.concatenate([batch.partitions for batch in batches]),
            np.concatenate([batch.offsets for batch in batches]),
            np.concatenate([batch.timestamps_ms for batch in batches]),
            [key for batch in batches for key in batch.keys],
            [value for batch in batches for value in batch.values],
            [headers for batch in batches for headers in batch.headers],
        )

    def next_offsets(self) -> dict[TopicPartition, NextOffset]:
        """What to commit when every record of this batch is done: last offset plus one, per partition.

        The one definition of a committable offset. Never a consumer's position, which may be past records that were
        fetched but not scored.
        """
        return {
            TopicPartition(self.topic, int(partition)): NextOffset(
                int(self.offsets[self.partitions == partition].max()) + 1
            )
            for partition in np.unique(self.partitions)
        }


@dataclass(frozen=True, slots=True)
class OutputBatch:
    """Records to write to one topic, as columns of one length.

    Attributes:
        topic: Where to write.
        partitions: int32, shape (n,); predictions go to the partition of their input.
        timestamps_ms: int64, shape (n,); predictions carry their input's timestamp, so that latency is measured from
            the log.
        keys: Key bytes, or None.
        values: Value bytes, or None.
        headers: None when no record of the batch has headers, which is the fast way.
    """

    topic: str
    partitions: NDArray[np.int32]
    timestamps_ms: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] | None = None

    def __len__(self) -> int:
        return len(self.values)


NextOffsets: TypeAlias = Mapping[TopicPartition, NextOffset]
