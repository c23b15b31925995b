"""Changing control topics: one writer per subject at a time, every change a transaction, every change in the history.

What to change is decided by a pure function of what was read. Between the reading and the commit nobody else can change
the same subject: both happen under one `transactional.id`, and whoever takes that up later fences this writer, which
then begins again from reading. So numbers can be allocated from what was read.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Final, Generic, Self, TypeAlias, TypeVar
from uuid import uuid4

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millrace.core.errors import TransientError
from millrace.core.records import NextOffset
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.connection import QUIET, ConnectionNotes
from millrace.kafka.control import ControlView, Table
from millrace.kafka.errors import inner_error
from millrace.kafka.history import HISTORY_TOPIC, HistoryEntry, HistoryRecord, Json, append, read_history
from millrace.process.settings import ClientConfig, KafkaSettings

MODELS_TOPIC: Final = "millrace.models"
DEPLOYMENTS_TOPIC: Final = "millrace.deployments"
KEYS_TOPIC: Final = "millrace.keys"
JOBS_TOPIC: Final = "millrace.jobs"

CONTROL_TOPICS: Final = (
    TopicSpec(MODELS_TOPIC, 1, {"cleanup.policy": "compact"}),
    TopicSpec(DEPLOYMENTS_TOPIC, 1, {"cleanup.policy": "compact"}),
    TopicSpec(KEYS_TOPIC, 1, {"cleanup.policy": "compact"}),
    TopicSpec(JOBS_TOPIC, 1, {"cleanup.policy": "compact"}),
    TopicSpec(HISTORY_TOPIC, 1, {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}),
)
"""The topics of control, as they are created where they do not exist."""

Tables: TypeAlias = Mapping[str, Table]
"""What was read: the table of each topic, by topic."""

Outcome = TypeVar("Outcome")

_ATTEMPTS: Final = 10
_TRANSACTION: Final = timedelta(seconds=10)
_PATIENCE: Final = timedelta(seconds=30)
_BACKOFF_SECS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Put:
    """One record to write; a value of None deletes the key."""

    topic: str
    key: str
    value: Json | None


@dataclass(frozen=True, slots=True)
class Change(Generic[Outcome]):
    """What somebody decided to do.

    Attributes:
        puts: The records to write, all or none; nothing at all leaves no trace in the history either.
        outcome: What the decision came to, such as the allocated number; JSON, because the history keeps it.
        is_noted: Whether the history tells of it also where there is nothing to write: of what was refused.
    """

    puts: Sequence[Put]
    outcome: Outcome
    is_noted: bool = False


Decide: TypeAlias = Callable[[Tables], Change[Outcome]]
"""Decides from what was read. Pure: it is asked again when somebody else was faster. It refuses by raising."""


@dataclass(frozen=True, slots=True)
class Applied(Generic[Outcome]):
    """A change that took effect.

    Attributes:
        outcome: The outcome of the decision that was carried out.
        next_offsets: One past the last record written to each topic (partition 0): wait for these to read it back.
        history: Its record, or None where there was nothing to write.
    """

    outcome: Outcome
    next_offsets: Mapping[str, NextOffset]
    history: HistoryRecord | None


class ControlWriter:
    """Changes control topics for one user or service. Not thread-safe; close it, or use it in a `with`.

    Args:
        kafka: The cluster.
        who: Whom the history names.
        topics: The topics that decisions read and write.
        history: The topic of the history.
        now: The clock of the history.

    Raises:
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        who: str,
        topics: Sequence[str] = (MODELS_TOPIC, DEPLOYMENTS_TOPIC),
        history: str = HISTORY_TOPIC,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = kafka
        self._who = who
        self._now = now
        self._history = history
        self._admin = Admin(kafka)
        self._admin.ensure_topics([spec for spec in CONTROL_TOPICS if spec.name in {*topics, history}])
        with ExitStack() as stack:
            self._views = {topic: stack.enter_context(ControlView(kafka, topic)) for topic in (*topics, history)}
            self._stack = stack.pop_all()

    def apply(self, subject: str, what: str, decide: Decide[Outcome], *, who: str | None = None) -> Applied[Outcome]:
        """Read, decide, write; from the beginning when another writer of the subject comes in between.

        Blocks for some tens of milliseconds, and longer while other writers are at it.

        Args:
            subject: What is changed, for example `model/loans`. Changes of one subject happen one after the other.
            what: The action, for the history: `push version`.
            decide: The decision. What it raises is raised here, and nothing is written.
            who: Whom the history names; the writer's own where absent.

        Raises:
            TransientError: The broker did not answer, or other writers were faster again and again.
            FatalError: The broker refuses this client.
        """
        change_id = uuid4().hex
        uncertain: Applied[Outcome] | None = None
        for attempt in range(_ATTEMPTS):
            try:
                with _SubjectProducer(self._kafka, subject) as producer:
                    tables = self._read_everything()
                    if uncertain is not None and self._has_taken_effect(subject, change_id):
                        return uncertain
                    change = decide({topic: tables[topic] for topic in self._topics})
                    if not change.puts and not change.is_noted:
                        return Applied(change.outcome, {}, None)
                    entry = self._entry(subject, what, change_id, tables, change, who=who or self._who)
                    record = append(_latest(tables[self._history], subject), entry)
                    uncertain = Applied(change.outcome, producer.write([*change.puts, self._put(record)]), record)
                    producer.commit()
                    return uncertain
            except _OutrunError:
                # Writers that fence each other in step would do so for ever: the later attempt waits longer.
                time.sleep(_BACKOFF_SECS * attempt * (1 + int(change_id[:4], 16) / 0xFFFF))
        raise TransientError(f"other writers of {subject} were faster {_ATTEMPTS} times", remedy="try again")

    def close(self) -> None:
        """Let go of the connections."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _topics(self) -> tuple[str, ...]:
        return tuple(topic for topic in self._views if topic != self._history)

    def _read_everything(self) -> Tables:
        """The tables as every transaction that has begun by now leaves them.

        Not to the last stable offset: another subject's open transaction may hold that back, before a record that the
        writer ahead of us committed.
        """
        ends = self._admin.high_watermarks(self._views)
        for topic, view in self._views.items():
            for partition, end in ends[topic].items():
                view.wait_for(end - 1, partition=partition, limit=_PATIENCE)
        return {topic: view.table for topic, view in self._views.items()}

    def _entry(
        self, subject: str, what: str, change_id: str, tables: Tables, change: Change[Outcome], *, who: str
    ) -> HistoryEntry:
        before: dict[str, dict[str, Json | None]] = {}
        after: dict[str, dict[str, Json | None]] = {}
        for put in change.puts:
            before.setdefault(put.topic, {})[put.key] = tables[put.topic].get(put.key)
            after.setdefault(put.topic, {})[put.key] = put.value
        at_ms = int(self._now() * 1000)
        return HistoryEntry(subject, change_id, at_ms, who, what, before, after, change.outcome)

    def _put(self, record: HistoryRecord) -> Put:
        return Put(self._history, record.entry.subject, record.to_json())

    def _has_taken_effect(self, subject: str, change_id: str) -> bool:
        """Whether an attempt was committed after all. Its answer may be lost, its record is not."""
        records = read_history(self._kafka, topic=self._history, subject=subject)
        return any(record.entry.change_id == change_id for record in records)


def _latest(history: Table, subject: str) -> HistoryRecord | None:
    value = history.get(subject)
    return None if value is None else HistoryRecord.from_json(value)


class _OutrunError(Exception):
    """Another writer took the subject up, or the transaction has to be tried again for another reason."""


class _SubjectProducer:
    """The one producer that may write about a subject; taking it up ends the transaction of whoever was it before."""

    def __init__(self, kafka: KafkaSettings, subject: str) -> None:
        self._doing = f"changing {subject}"
        self._notes = ConnectionNotes()
        config = kafka.client(**_SETTINGS, **{"transactional.id": f"millrace-control-{subject}"})
        self._producer = Producer({**config, "error_cb": self._notes.heard, "logger": _SILENT})
        with self._explained():
            self._producer.init_transactions(_PATIENCE.total_seconds())

    def write(self, puts: Sequence[Put]) -> dict[str, NextOffset]:
        """Write records in a transaction that stays open; returns one past the last offset, by topic."""
        reached: dict[str, NextOffset] = {}

        def on_delivery(error: KafkaError | None, record: Message) -> None:
            if error is None:
                reached[str(record.topic())] = NextOffset((record.offset() or 0) + 1)

        with self._explained():
            self._producer.begin_transaction()
            for put in puts:
                value = None if put.value is None else orjson.dumps(put.value, option=orjson.OPT_SORT_KEYS)
                self._producer.produce(put.topic, value, put.key.encode(), partition=0, on_delivery=on_delivery)
            self._producer.flush(_TRANSACTION.total_seconds())
        return reached

    def commit(self) -> None:
        with self._explained():
            self._producer.commit_transaction(_TRANSACTION.total_seconds())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._meaning(error) from error
        except SystemError as error:
            # What the client makes of a fatal error while delivery reports wait to be called.
            if not isinstance(error.__cause__, KafkaException):
                raise
            raise self._meaning(error.__cause__) from error

    def _meaning(self, error: KafkaException) -> Exception:
        inner = inner_error(error)
        explained = self._notes.explain(error, self._doing)
        may_pass = inner.txn_requires_abort() or (inner.retriable() and isinstance(explained, TransientError))
        return _OutrunError() if inner.code() in _FENCED or may_pass else explained

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where nothing is open, or another writer has ended it, the client refuses: then there is nothing to do.
        with suppress(KafkaException, SystemError):
            if error is not None:
                self._producer.abort_transaction(_TRANSACTION.total_seconds())
        with suppress(KafkaException, SystemError):
            self._producer.close()


_SILENT: Final = logging.getLogger(f"{__name__}.silent")
_SILENT.disabled = True  # Being fenced is our daily business; the client would shout it to stderr at any level.

_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})

_SETTINGS: Final[ClientConfig] = {
    **QUIET,
    "transaction.timeout.ms": int(_TRANSACTION.total_seconds() * 1000),
    # The default of 100 ms would be added to every change that follows another closely.
    "retry.backoff.ms": 5,
}
