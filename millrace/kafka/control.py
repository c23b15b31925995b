"""Control topics as tables: the newest value of every key, as far as transactions are committed."""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeAlias

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from millrace.core.errors import MillraceError, TransientError
from millrace.core.records import NextOffset, Offset
from millrace.kafka.admin import Admin
from millrace.kafka.connection import QUIET, READER_GROUP, ConnectionNotes, partitions_of
from millrace.kafka.history import Json
from millrace.process.settings import KafkaSettings

Table: TypeAlias = Mapping[str, Json]
"""The newest value by key, at one moment."""

Changes: TypeAlias = Mapping[str, Json | None]
"""New values by key; None for a key that was deleted."""

OnChange: TypeAlias = Callable[[Changes], None]
"""Called after the table holds the changes, from the follower's thread."""

_TURN_SECS: Final = 0.1
_BATCH_RECORDS: Final = 1000


class ControlView:
    """Reads one control topic and keeps it in memory. May be shared by threads; close it, or use it in a `with`.

    Nothing is read before the first `refresh` or `follow`. A value that is not a JSON object counts as no value, and
    `unreadable` names its key: one bad record must not stop who reads all the others.

    Args:
        kafka: The cluster.
        topic: An existing topic; usually of one partition and compacted.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.topic = topic
        self._doing = f"reading {topic!r}"
        self._notes = ConnectionNotes()
        # A client of its own: the consumer does not answer such questions while another thread polls it.
        self._ends = Admin(kafka)
        self._consumer = Consumer({**kafka.client(**_SETTINGS), "error_cb": self._notes.heard})
        self._table: dict[str, Json] = {}
        self._unreadable: set[str] = set()
        self._progress = threading.Condition()  # Guards what follows; notified when a reading gets further.
        self._reached: dict[int, int] = {}
        self._failure: MillraceError | None = None
        self._reading = threading.Lock()  # Held by whoever polls the consumer.
        self._stopping = threading.Event()
        self._follower: threading.Thread | None = None
        try:
            partitions = partitions_of(self._consumer, topic, self._notes, doing=self._doing)
            self._reached = dict.fromkeys(partitions, 0)
            self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        except BaseException:
            self._consumer.close()
            raise

    def refresh(self, *, limit: timedelta = timedelta(seconds=30)) -> Table:
        """Read up to where readers of committed records can read now, and return the table.

        What an open transaction wrote, and what was committed behind it, is not seen; nor, for some milliseconds after
        the answer to a commit, what that committed. Who wants to read his own writes calls `wait_for`.

        Raises:
            TransientError: The end was not reached within `limit`.
            FatalError: The broker refuses this client.
        """
        self._read_to(self._ends.stable_ends([self.topic])[self.topic], limit)
        return self.table

    def wait_for(self, offset: Offset | int, *, partition: int = 0, limit: timedelta = timedelta(seconds=30)) -> Table:
        """Read until the record at `offset` has been seen, for who wrote it and wants to read it back.

        Raises:
            TransientError: It did not appear within `limit`.
        """
        self._read_to({partition: offset + 1}, limit)
        return self.table

    @property
    def table(self) -> Table:
        """The newest values as far as they have been read. A snapshot: later changes do not show in it."""
        with self._progress:
            return MappingProxyType(self._table.copy())

    @property
    def unreadable(self) -> frozenset[str]:
        """The keys whose newest value is not a JSON object."""
        with self._progress:
            return frozenset(self._unreadable)

    @property
    def next_offsets(self) -> Mapping[int, NextOffset]:
        """How far each partition has been read."""
        with self._progress:
            return {partition: NextOffset(offset) for partition, offset in self._reached.items()}

    def get(self, key: str) -> Json | None:
        """The newest value of a key as far as it has been read, or None."""
        with self._progress:
            return self._table.get(key)

    def follow(self, on_change: OnChange) -> None:
        """Read on in the background until `close`, and report every change from here on.

        The table is complete when this returns. A MillraceError of `on_change`, or of reading, ends the following; the
        next call of a method that reads raises it.
        """
        if self._follower is not None:
            raise RuntimeError(f"{self.topic} is being followed already")
        self.refresh()
        self._follower = threading.Thread(target=self._follow, args=(on_change,), name=f"follow {self.topic}")
        self._follower.start()

    def check(self) -> None:
        """Raise what ended the following; for who must not go by a table that nobody keeps up to date."""
        with self._progress:
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Stop following and let go of the connection. Twice is as good as once."""
        self._stopping.set()
        if self._follower is not None:
            self._follower.join()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_to(self, ends: Mapping[int, int], limit: timedelta) -> None:
        """Return when every partition has been read up to its end, by this thread or by the follower."""
        deadline = time.monotonic() + limit.total_seconds()
        while not self._has_reached(ends):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{self._doing}: its end was not reached within {limit.total_seconds():g} s",
                    remedy="check that the broker runs, and that no transaction hangs: `millrace doctor`",
                )
            if self._follower is not None:
                with self._progress:
                    self._progress.wait_for(lambda: self._behind(ends) is False, _TURN_SECS)
            else:
                self._turn()

    def _has_reached(self, ends: Mapping[int, int]) -> bool:
        with self._progress:
            return not self._behind(ends)

    def _behind(self, ends: Mapping[int, int]) -> bool:
        if self._failure is not None:
            raise self._failure
        return any(self._reached[partition] < end for partition, end in ends.items())

    def _follow(self, on_change: OnChange) -> None:
        try:
            while not self._stopping.is_set():
                if changes := self._turn():
                    on_change(changes)
        except MillraceError as error:
            with self._progress:
                self._failure = error
                self._progress.notify_all()

    def _turn(self) -> Changes:
        """Poll once and apply what came."""
        with self._reading:
            try:
                first = self._consumer.poll(_TURN_SECS)
                # Not consume(n, timeout) alone, which waits for n records or the whole timeout.
                records = [first, *self._consumer.consume(_BATCH_RECORDS, 0)] if first is not None else []
                positions = self._consumer.position([TopicPartition(self.topic, p) for p in self._reached])
            except KafkaException as error:
                raise self._notes.explain(error, self._doing) from error
            return self._apply(records, positions)

    def _apply(self, records: Iterable[Message], positions: Iterable[TopicPartition]) -> Changes:
        changes: dict[str, Json | None] = {}
        with self._progress:
            for record in records:
                error = record.error()
                if error is None:
                    changes.update([self._put(record)])
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._reach(record.partition(), record.offset())
                elif not isinstance(explained := self._notes.explain(error, self._doing), TransientError):
                    raise explained
            # A position passes the markers behind the last record too, which no record reports.
            for at in positions:
                self._reach(at.partition, at.offset)
            self._progress.notify_all()
        return changes

    def _reach(self, partition: int | None, offset: int | None) -> None:
        if partition is not None and offset is not None:
            self._reached[partition] = max(self._reached[partition], offset)

    def _put(self, record: Message) -> tuple[str, Json | None]:
        key = (record.key() or b"").decode(errors="replace")
        raw = record.value()
        value = _object(raw)
        self._unreadable.discard(key)
        if value is not None:
            self._table[key] = value
            return key, value
        if raw is not None:
            self._unreadable.add(key)
        self._table.pop(key, None)
        return key, None


_SETTINGS: Final = {
    **QUIET,
    "group.id": READER_GROUP,
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
}


def _object(value: bytes | None) -> Json | None:
    """The JSON object that a value is, or None."""
    try:
        parsed = orjson.loads(value) if value is not None else None
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None
