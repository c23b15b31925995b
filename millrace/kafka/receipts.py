"""Writing once for each key, whoever asks and how often: records and their receipt in one transaction.

A receipt says where the records of a key came to lie. It is a record itself, of the topic `millrace.receipts`, and is
committed with them: both are there, or neither. A process may answer from its memory of a slot's receipts as long as it
holds the slot's `transactional.id`, because nobody else can commit a receipt there meanwhile. Whoever takes the id over
fences it and reads the receipts first. So a key gets the same answer after a restart, and from any process.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec import Meta
from numpy.typing import NDArray

from millrace.core.errors import InvalidRecordError, MillraceError, Reason, RequestError, TransientError
from millrace.core.records import OutputBatch, TopicPartition
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.connection import QUIET, ConnectionNotes
from millrace.kafka.errors import code_of
from millrace.kafka.messages import enqueue
from millrace.kafka.reading import Reader
from millrace.process.settings import ClientConfig, KafkaSettings

RECEIPTS_TOPIC: Final = "millrace.receipts"
WINDOW: Final = timedelta(hours=24)
"""How long a receipt is remembered."""

SLOTS: Final = 8
"""Partitions of the topic, each of which one process holds at a time."""

_PATIENCE: Final = timedelta(seconds=20)
_ATTEMPTS: Final = 3
_ROOM_SECS: Final = 0.02
_MILLISECOND: Final = timedelta(milliseconds=1)

Count = Annotated[int, Meta(ge=0)]


class Receipt(msgspec.Struct, frozen=True, tag_field="type", tag="receipt.v1"):
    """Where the records of one key lie.

    Attributes:
        digest: Digest of what was written; another one under the same key is a mistake of the caller's.
        topic: Where it was written.
        at: When, milliseconds since 1970.
        partitions: Of each record.
        offsets: Of each record.
    """

    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    topic: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]+$")]
    at: Count
    partitions: tuple[Count, ...]
    offsets: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Keyed:
    """What is to be written once.

    Attributes:
        key: Names it; the same key with the same digest is the same thing.
        digest: `sha256:` and 64 hexadecimal digits, of what the caller was given.
        batch: The records, each with its partition.
    """

    key: str
    digest: str
    batch: OutputBatch


def receipts_topic(window: timedelta = WINDOW) -> TopicSpec:
    """The topic of receipts, as it is created where it does not exist."""
    return TopicSpec(
        RECEIPTS_TOPIC, SLOTS, {"cleanup.policy": "compact,delete", "retention.ms": str(window // _MILLISECOND)}
    )


def read_receipt(value: bytes | None) -> Receipt:
    """A receipt from the value of its record.

    Raises:
        InvalidRecordError: It is none.
    """
    try:
        receipt = _DECODER.decode(value or b"")
    except msgspec.DecodeError as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, f"this is no receipt: {error}") from None
    if len(receipt.partitions) != len(receipt.offsets):
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "a receipt names a partition and an offset for every record")
    return receipt


class ReceiptBook:
    """Writes batches once for each key. For one thread.

    Args:
        kafka: The cluster.
        now: Tells the time, milliseconds since 1970.
        window: How long receipts are remembered; the topic's retention where it is made.
    """

    def __init__(self, kafka: KafkaSettings, now: Callable[[], int], *, window: timedelta = WINDOW) -> None:
        self._kafka = kafka
        self._now = now
        self._window = window
        self._slots: dict[int, _Slot] = {}

    def write(self, entries: Sequence[Keyed]) -> list[Receipt | MillraceError]:
        """Write what has no receipt yet, and return the receipt of each entry. Blocks until all is committed.

        An entry's outcome is an error where it was not written: RequestError for a key that was used for something
        else, TransientError where the outcome is not known (ask again with the same key), FatalError where the broker
        refuses.
        """
        outcomes: dict[int, Receipt | MillraceError] = {}
        for number in sorted({_slot_of(each.key) for each in entries}):
            rows = [row for row, each in enumerate(entries) if _slot_of(each.key) == number]
            outcomes.update(zip(rows, self._write_slot(number, [entries[row] for row in rows]), strict=True))
        return [outcomes[row] for row in range(len(entries))]

    def close(self) -> None:
        """Let go of every slot. May be called twice."""
        for number in list(self._slots):
            self._slots.pop(number).close()

    def _write_slot(self, number: int, entries: Sequence[Keyed]) -> list[Receipt | MillraceError]:
        """Again with a new hold on the slot when anything goes wrong: what is true then stands in the log."""
        oldest_ms = self._now() - self._window // _MILLISECOND
        for attempt in range(_ATTEMPTS):
            try:
                if number not in self._slots:
                    self._slots[number] = _Slot(self._kafka, number, oldest_ms=oldest_ms, window=self._window)
                return self._slots[number].write(entries, now_ms=self._now(), oldest_ms=oldest_ms)
            except MillraceError as error:
                if (lost := self._slots.pop(number, None)) is not None:
                    lost.close()
                if attempt == _ATTEMPTS - 1 or not isinstance(error, TransientError):
                    return [error] * len(entries)
        raise AssertionError("the last attempt returns")


class _Slot:
    """The right to write the receipts of some keys, and what has been written of them."""

    def __init__(self, kafka: KafkaSettings, number: int, *, oldest_ms: int, window: timedelta) -> None:
        self._number = number
        self._doing = f"writing once, in slot {number} of {RECEIPTS_TOPIC}"
        self._notes = ConnectionNotes()
        self._receipts: dict[str, Receipt] = {}
        admin = Admin(kafka)
        admin.ensure_topics([receipts_topic(window)])
        config = kafka.client(**_SETTINGS, **{"transactional.id": f"millrace-receipts-{number}"})
        self._producer = Producer({**config, "error_cb": self._notes.heard})
        self._call(lambda: self._producer.init_transactions(_PATIENCE.total_seconds()))
        self._read(kafka, admin, datetime.fromtimestamp(oldest_ms / 1000, UTC))

    def write(self, entries: Sequence[Keyed], *, now_ms: int, oldest_ms: int) -> list[Receipt | MillraceError]:
        """See `ReceiptBook.write`. After an error the slot must be taken anew: the log says what became of the rest."""
        self._receipts = {key: each for key, each in self._receipts.items() if each.at >= oldest_ms}
        fresh = {each.key: each for each in reversed(entries) if each.key not in self._receipts}
        if fresh:
            self._call(partial(self._commit, list(fresh.values()), now_ms))
        return [_answer(each, self._receipts[each.key]) for each in entries]

    def close(self) -> None:
        """Forget what is not committed."""
        self._producer.purge()

    def _commit(self, entries: Sequence[Keyed], now_ms: int) -> None:
        self._producer.begin_transaction()
        written = [_Written(each.batch) for each in entries]
        for each in written:
            row = 0
            while (row := enqueue(self._producer, each.batch, row, each.hear)) < len(each.batch):
                self._producer.poll(_ROOM_SECS)
        self._flush()
        made: dict[str, Receipt] = {}
        for entry, each in zip(entries, written, strict=True):
            places = entry.batch.partitions, each.offsets()
            made[entry.key] = Receipt(entry.digest, entry.batch.topic, now_ms, *(tuple(p.tolist()) for p in places))
        for key, receipt in made.items():
            value = msgspec.json.encode(receipt)
            self._producer.produce(RECEIPTS_TOPIC, value, key.encode(), partition=self._number, timestamp=now_ms)
        self._flush()
        self._producer.commit_transaction(_PATIENCE.total_seconds())
        self._receipts.update(made)

    def _flush(self) -> None:
        if self._producer.flush(_PATIENCE.total_seconds()):
            raise TransientError(f"{self._doing}: records were not acknowledged in time", remedy="check the broker")

    def _read(self, kafka: KafkaSettings, admin: Admin, since: datetime) -> None:
        give_up = time.monotonic() + _PATIENCE.total_seconds()
        place = TopicPartition(RECEIPTS_TOPIC, self._number)
        # Behind a transaction that is being settled nothing is readable: wait until it is.
        while admin.ends([RECEIPTS_TOPIC])[place].has_open_transaction:
            if time.monotonic() > give_up:
                raise TransientError(f"{self._doing}: an open transaction holds it back", remedy="try again")
            time.sleep(_ROOM_SECS)
        with Reader(kafka, RECEIPTS_TOPIC, start=since, partitions=[self._number]) as reader:
            for batch in reader:
                for key, value in zip(batch.keys, batch.values, strict=True):
                    with suppress(InvalidRecordError):  # not ours: nothing is answered from it
                        self._receipts[(key or b"").decode()] = read_receipt(value)

    def _call(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (KafkaException, SystemError) as error:
            # SystemError is what the client makes of a fatal error while delivery reports wait to be called.
            cause = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(cause, KafkaException):
                raise
            if code_of(cause) in _FENCED:
                raise TransientError(f"{self._doing}: another process has taken over", remedy="try again") from error
            raise self._notes.explain(cause, self._doing) from error


class _Written:
    """One batch on its way, and where its records came to lie."""

    def __init__(self, batch: OutputBatch) -> None:
        self.batch = batch
        self._places: list[tuple[int, int]] = []

    def hear(self, error: KafkaError | None, record: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        self._places.append((record.partition() or 0, record.offset() or 0))

    def offsets(self) -> NDArray[np.int64]:
        """Offset of each row: within a partition, records lie in the order in which they were written."""
        if len(self._places) < len(self.batch):
            raise TransientError(f"not every record for {self.batch.topic!r} was acknowledged", remedy="try again")
        found = np.array(sorted(self._places), np.int64).reshape(-1, 2)
        offsets = np.empty(len(self.batch), np.int64)
        offsets[np.argsort(self.batch.partitions, kind="stable")] = found[:, 1]
        return offsets


def _answer(entry: Keyed, receipt: Receipt) -> Receipt | MillraceError:
    if (receipt.digest, receipt.topic) == (entry.digest, entry.batch.topic):
        return receipt
    return RequestError(
        f"the idempotency key {entry.key[:80]!r} was used for something else before",
        remedy="use a new key for every request; the same one only to repeat it",
    )


def _slot_of(key: str) -> int:
    return zlib.crc32(key.encode()) % SLOTS


_DECODER: Final = msgspec.json.Decoder(Receipt)
_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})

_SETTINGS: Final[ClientConfig] = {
    **QUIET,
    "transaction.timeout.ms": 30_000,
    "retry.backoff.ms": 5,
    "linger.ms": 0,
    "message.max.bytes": 64 * 1024 * 1024,  # the topic's own limit decides
}
