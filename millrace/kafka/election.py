"""Electing one process by the log, and letting nobody but the elected one write.

The candidates are a consumer group on a topic of one partition; whoever holds the partition is elected. What it decides
is a transaction that also commits the group's offset with its membership. So two things refuse a candidate that was
paused and wakes up late: the broker fences the producer of whoever was elected before, and it refuses the offsets of
whoever is no member of the group any more. The second is needed, because a late candidate that takes up the
`transactional.id` would fence the one that is truly elected.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from millrace.core.errors import TransientError
from millrace.core.records import NextOffset
from millrace.kafka.admin import Admin
from millrace.kafka.connection import QUIET, ConnectionNotes
from millrace.kafka.control_writer import Put
from millrace.kafka.errors import inner_error
from millrace.process.settings import ClientConfig, KafkaSettings

SESSION: Final = timedelta(seconds=6)
"""A candidate that is silent for so long is elected no more: the shortest that a broker allows by default."""

_PARTITION: Final = 0
_TRANSACTION_SECS: Final = 10.0
_LATEST_POLL: Final = timedelta(seconds=30)


class Election:
    """One candidate. Not thread-safe; close it, or use it in a `with`.

    Args:
        kafka: The cluster.
        topic: The topic that decisions are written to, of one partition.
        group: Name of the office: candidates of one group are rivals.
        session: How long a candidate may be silent.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, group: str, session: timedelta = SESSION) -> None:
        self._kafka = kafka
        self._topic = topic
        self._group = group
        self._doing = f"standing for election in group {group!r}"
        self._notes = ConnectionNotes()
        self._holds = False
        self._producer: Producer | None = None
        self._term = 0
        Admin(kafka).partition_counts([topic])
        session_ms = int(session / timedelta(milliseconds=1))
        config = {
            **_CONSUMER,
            "group.id": group,
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": session_ms // 4,
        }
        self._consumer = Consumer({**kafka.client(**config), "error_cb": self._notes.heard, "logger": _SILENT})
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._removed, on_lost=self._removed)

    @property
    def term(self) -> int:
        """Counts how often this candidate came to write; whoever sees a new number reads everything again."""
        return self._term

    def turn(self, timeout: timedelta) -> bool:
        """Stay a candidate; whether this one is elected as far as it knows. Blocks for `timeout`; longer when elected.

        Raises:
            TransientError: The broker does not let the elected one begin; call again.
            FatalError: The broker refuses this client.
        """
        try:
            polled = self._consumer.poll(timeout.total_seconds())
            if self._holds and self._producer is None:
                self._take_office()
        except KafkaException as error:
            raise self._notes.explain(error, self._doing) from error
        notice = None if polled is None else polled.error()
        # One that came late to its turn is out of the group, and joins it again by this call.
        if notice is not None and notice.code() != KafkaError._MAX_POLL_EXCEEDED:
            explained = self._notes.explain(notice, self._doing)
            if not isinstance(explained, TransientError):
                raise explained
        return self._producer is not None

    def decide(self, puts: Sequence[Put]) -> NextOffset | None:
        """Write decisions, all or none, if this candidate is elected; blocks until they are committed.

        Returns:
            One past the last record, to read it back; None where nothing is known to be written: another one is
            elected, or the outcome is not known. Then go on with `turn`, and read everything again in the next term.

        Raises:
            FatalError: The broker refuses this client.
        """
        if self._producer is None or not puts:
            return None
        try:
            return self._commit(self._producer, puts)
        except (KafkaException, SystemError) as error:
            # SystemError is what the client makes of a fatal error while delivery reports wait to be called.
            cause = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(cause, KafkaException):
                raise
            self._leave_office()
            if not _is_refusal(inner_error(cause)):
                explained = self._notes.explain(cause, self._doing)
                if not isinstance(explained, TransientError):
                    raise explained from error
        return None

    def close(self) -> None:
        """Leave the group, so that another one is elected at once. Twice is as good as once."""
        self._leave_office()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_office(self) -> None:
        """Settle what the one before left open, and become able to write."""
        config = self._kafka.client(**_PRODUCER, **{"transactional.id": self._group})
        producer = Producer({**config, "error_cb": self._notes.heard, "logger": _SILENT})
        producer.init_transactions(_TRANSACTION_SECS)
        self._consumer.pause(self._consumer.assignment())  # What is written here is read elsewhere.
        self._producer = producer
        self._term += 1

    def _leave_office(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # Where nothing is open, or a successor has ended it, the client refuses: then there is nothing to do.
            with suppress(KafkaException, SystemError):
                producer.purge()
                producer.abort_transaction(_TRANSACTION_SECS)

    def _commit(self, producer: Producer, puts: Sequence[Put]) -> NextOffset:
        reached = 0

        def delivered(error: KafkaError | None, record: Message) -> None:
            nonlocal reached
            if error is None:
                reached = max(reached, (record.offset() or 0) + 1)

        producer.begin_transaction()
        for put in puts:
            value = None if put.value is None else orjson.dumps(put.value, option=orjson.OPT_SORT_KEYS)
            producer.produce(put.topic, value, put.key.encode(), partition=_PARTITION, on_delivery=delivered)
        producer.flush(_TRANSACTION_SECS)
        # The membership is what a late candidate cannot have.
        offsets = [TopicPartition(self._topic, _PARTITION, reached)]
        producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata(), _TRANSACTION_SECS)
        producer.commit_transaction(_TRANSACTION_SECS)
        return NextOffset(reached)

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._holds = self._holds or bool(partitions)

    def _removed(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._holds = False
            self._leave_office()


def _is_refusal(error: KafkaError) -> bool:
    """Whether the broker said that another one is elected, or wants the transaction to be tried again."""
    return error.code() in _OUTVOTED or error.txn_requires_abort() or error.retriable()


_SILENT: Final = logging.getLogger(f"{__name__}.silent")
_SILENT.disabled = True  # Being outvoted is a candidate's daily business; the client would shout it to stderr.

_OUTVOTED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._STATE,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

_CONSUMER: Final[ClientConfig] = {
    **QUIET,
    # Classic, whose session a candidate chooses itself; sticky, so that another candidate ends nobody's term.
    "group.protocol": "classic",
    "partition.assignment.strategy": "cooperative-sticky",
    "enable.auto.commit": False,
    "auto.offset.reset": "latest",
    # One whose loop hangs is elected no more, although its client still sends heartbeats.
    "max.poll.interval.ms": int(_LATEST_POLL / timedelta(milliseconds=1)),
}

_PRODUCER: Final[ClientConfig] = {
    **QUIET,
    "transaction.timeout.ms": int(_TRANSACTION_SECS * 1000),
    "retry.backoff.ms": 5,
}
