"""Who changed what, as a chain: each record carries the hash of the one before it about the same subject.

Whoever edits, drops or inserts a record breaks the chain from there on. (Whoever can rewrite the whole topic can also
hash it again: the chain shows tampering to a reader who remembers one later digest.)
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

import orjson

from millrace.core.errors import RequestError
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings

HISTORY_TOPIC: Final = "millrace.history"

Json: TypeAlias = dict[str, object]
"""A JSON object, as every control record's value is."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What somebody did.

    Attributes:
        subject: What it was done to, for example `model/loans`.
        change_id: Names this change and no other, so that whoever made it can find out whether it took effect.
        at_ms: When, milliseconds since 1970, by the clock of who did it.
        who: User, service or process.
        what: The action, a verb and its object: `push version`, `move alias`.
        before: The control records that it touched as they were, by topic and key; null where there was none.
        after: The same as they became; null where a record was deleted.
        result: What came of it, for people and scripts.
    """

    subject: str
    change_id: str
    at_ms: int
    who: str
    what: str
    before: Mapping[str, Mapping[str, Json | None]]
    after: Mapping[str, Mapping[str, Json | None]]
    result: object = None

    @property
    def at(self) -> datetime:
        """When, in the local time zone."""
        return datetime.fromtimestamp(self.at_ms / 1000).astimezone()


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """An entry in its place in the chain of its subject.

    Attributes:
        entry: What was done.
        sequence: 1 for the first record about the subject, then counting up.
        previous: The digest of the record before it; empty for the first.
        digest: sha256 over all the rest as canonical JSON, hexadecimal.
    """

    entry: HistoryEntry
    sequence: int
    previous: str
    digest: str

    def to_json(self) -> Json:
        """The record as the topic holds it."""
        return {**_hashed(self.entry, self.sequence, self.previous), "digest": self.digest}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Does not check the digest; `verify` does.

        Raises:
            RequestError: It is not a history record.
        """
        try:
            entry = HistoryEntry(**{name: value[name] for name in HistoryEntry.__dataclass_fields__})
            return cls(entry, int(value["sequence"]), str(value["previous"]), str(value["digest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"{HISTORY_TOPIC} holds a record that is none of history: {error!r}",
                remedy="look who else writes there",
            ) from error


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain breaks, and how."""

    subject: str
    sequence: int
    why: str


def append(previous: HistoryRecord | None, entry: HistoryEntry) -> HistoryRecord:
    """The record that puts `entry` after `previous`, the latest one about the same subject (None: the first)."""
    sequence = previous.sequence + 1 if previous else 1
    link = previous.digest if previous else ""
    return HistoryRecord(entry, sequence, link, _digest(entry, sequence, link))


def verify(records: Iterable[HistoryRecord]) -> Broken | None:
    """The first break in the chains of all subjects, or None where every one is whole.

    Args:
        records: All records from the beginning, in the order of the topic; subjects may be mixed.
    """
    latest: dict[str, HistoryRecord] = {}
    for record in records:
        subject = record.entry.subject
        before = latest.get(subject)
        if record.digest != _digest(record.entry, record.sequence, record.previous):
            return Broken(subject, record.sequence, "its content is not what its digest was made from")
        if record.previous != (before.digest if before else ""):
            return Broken(subject, record.sequence, "it does not follow the record before it")
        if record.sequence != (before.sequence + 1 if before else 1):
            return Broken(subject, record.sequence, "its number does not follow the one before it")
        latest[subject] = record
    return None


def _digest(entry: HistoryEntry, sequence: int, previous: str) -> str:
    return hashlib.sha256(_canonical(_hashed(entry, sequence, previous))).hexdigest()


def _hashed(entry: HistoryEntry, sequence: int, previous: str) -> Json:
    return {**asdict(entry), "sequence": sequence, "previous": previous}


def _canonical(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def read_history(
    kafka: KafkaSettings, *, subject: str | None = None, topic: str = HISTORY_TOPIC
) -> Iterator[HistoryRecord]:
    """All records up to now, from the beginning, about one subject or about everything.

    Raises:
        RequestError: There is no history, or it holds something else.
        TransientError: No broker answers.
    """
    with Reader(kafka, topic) as reader:
        for batch in reader:
            for key, value in zip(batch.keys, batch.values, strict=True):
                if value is not None and (subject is None or key == subject.encode()):
                    yield HistoryRecord.from_json(orjson.loads(value))
