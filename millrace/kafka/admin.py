"""Topics, offsets and groups: what is asked of a cluster rather than read from a topic.

Every method is one question or one order, waits for the answer within the admin's limit, and raises the errors of
`millrace.kafka.errors`. Nothing is cached.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias, TypeVar, cast

import confluent_kafka as ck
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from millrace.core.errors import RequestError, TransientError
from millrace.core.records import NextOffset, Offset, TopicPartition
from millrace.kafka.connection import QUIET, ConnectionNotes, await_metadata
from millrace.kafka.errors import code_of
from millrace.process.settings import ClientConfig, KafkaSettings

Result = TypeVar("Result")

_LIMIT: Final = timedelta(seconds=15)
_ONE_BROKER: Final = timedelta(seconds=3)
_POLL_SECS: Final = 0.02
_SLICE_SECS: Final = 0.5
_IDENTITY: Final = "cleanup.policy"
"""The setting that makes a topic another kind of topic. Others may be tuned by whoever owns it."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as somebody wants it.

    Attributes:
        name: Its name.
        partitions: How many partitions.
        config: Topic settings by Kafka's names, where they differ from the cluster's defaults.
    """

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """Where a partition begins and ends.

    Attributes:
        start: The first offset that is still there.
        stable: The last stable offset: readers of committed records see up to here.
        high: The high watermark: everything that is replicated, of open transactions too.
    """

    start: Offset
    stable: NextOffset
    high: NextOffset

    @property
    def has_open_transaction(self) -> bool:
        """Whether a transaction holds readers of committed records back."""
        return self.stable < self.high


Ends: TypeAlias = Mapping[TopicPartition, PartitionEnds]


def hanging(before: Ends, after: Ends) -> list[TopicPartition]:
    """Partitions that one and the same transaction held back on both looks.

    Between the looks lies more than the longest transaction timeout in use, or else a slow transaction looks like one
    that nobody will end.
    """
    return sorted(
        partition
        for partition, ends in after.items()
        if ends.has_open_transaction and partition in before and before[partition].has_open_transaction
        if before[partition].stable == ends.stable
    )


_WITHOUT_MEMBERS: Final = (ck.ConsumerGroupState.EMPTY, ck.ConsumerGroupState.DEAD)


class Admin:
    """One connection for questions and orders. May be shared by threads; there is nothing to close.

    Args:
        kafka: The cluster.
        limit: How long any one answer may take.
    """

    def __init__(self, kafka: KafkaSettings, *, limit: timedelta = _LIMIT) -> None:
        self._notes = ConnectionNotes()
        self._config = {**kafka.client(**QUIET), "error_cb": self._notes.heard}
        self._client = self._client_of(kafka.bootstrap)
        self._secs = limit.total_seconds()

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> frozenset[str]:
        """Create the topics that do not exist; return when all can be used. Returns the names of the new ones.

        Raises:
            RequestError: A topic exists with another number of partitions or another `cleanup.policy`.
            TransientError: The cluster does not answer, or brokers do not hear of a topic in time.
        """
        wanted = {spec.name: spec for spec in specs}
        if not wanted:
            return frozenset()
        orders = [NewTopic(spec.name, spec.partitions, config=dict(spec.config)) for spec in wanted.values()]
        answers = self._client.create_topics(orders, request_timeout=self._secs)
        created = {
            name
            for name, answer in answers.items()
            if self._is_done(answer, f"creating topic {name!r}", unless=KafkaError.TOPIC_ALREADY_EXISTS)
        }
        self._await_topics(set(wanted))  # somebody else may be creating one at this moment
        self._check_existing([spec for name, spec in wanted.items() if name not in created])
        return frozenset(created)

    def topic_names(self) -> frozenset[str]:
        """All topics that this user may see, internal ones left out."""
        limit = timedelta(seconds=self._secs)
        topics = await_metadata(self._client, None, self._notes, doing="listing topics", within=limit).topics
        return frozenset(name for name in topics if not name.startswith("__"))

    def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions these topics have.

        Raises:
            RequestError: One does not exist.
        """
        names = sorted(set(topics))
        if not names:
            return {}
        answers = self._client.describe_topics(ck.TopicCollection(names), request_timeout=self._secs)
        return {
            name: len(self._wait(answer, f"describing topic {name!r}").partitions) for name, answer in answers.items()
        }

    def topic_id(self, topic: str) -> str:
        """The cluster's id of a topic, which no other topic has, before or after, of whatever name.

        Raises:
            RequestError: The topic does not exist.
        """
        [answer] = self._client.describe_topics(TopicCollection([topic]), request_timeout=self._secs).values()
        return str(self._wait(answer, f"describing topic {topic!r}").topic_id)

    def topic_config(self, topic: str) -> dict[str, str]:
        """All settings of a topic, the cluster's defaults included.

        Raises:
            RequestError: It does not exist.
        """
        resource = ConfigResource(ResourceType.TOPIC, topic)
        [answer] = self._client.describe_configs([resource], request_timeout=self._secs).values()
        entries = self._wait(answer, f"reading the settings of topic {topic!r}")
        return {name: entry.value for name, entry in entries.items()}

    def delete_topics(self, topics: Sequence[str]) -> None:
        """Delete topics with all their records. One that does not exist is as good as deleted."""
        for name, answer in self._client.delete_topics(list(topics), request_timeout=self._secs).items():
            self._is_done(answer, f"deleting topic {name!r}", unless=KafkaError.UNKNOWN_TOPIC_OR_PART)

    def ends(self, topics: Iterable[str]) -> dict[TopicPartition, PartitionEnds]:
        """Where every partition of these topics begins and ends now.

        Raises:
            RequestError: A topic does not exist.
        """
        partitions = [
            TopicPartition(topic, number)
            for topic, count in self.partition_counts(topics).items()
            for number in range(count)
        ]
        start = self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        # High before stable: the other way round, what is written in between would look like an open transaction.
        high = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        return {p: PartitionEnds(Offset(start[p]), NextOffset(stable[p]), NextOffset(high[p])) for p in partitions}

    def stable_ends(self, topics: Iterable[str]) -> dict[str, dict[int, NextOffset]]:
        """The last stable offset of every partition, by topic: readers of committed records see up to there.

        Raises:
            RequestError: A topic does not exist.
        """
        return self._latest(topics, IsolationLevel.READ_COMMITTED)

    def high_watermarks(self, topics: Iterable[str]) -> dict[str, dict[int, NextOffset]]:
        """One past the last record of every partition, by topic, records of open transactions included.

        Raises:
            RequestError: A topic does not exist.
        """
        return self._latest(topics, IsolationLevel.READ_UNCOMMITTED)

    def groups_at_work(self) -> frozenset[str]:
        """Consumer groups that have members."""
        answer = self._client.list_consumer_groups(request_timeout=self._secs)
        found = self._wait(answer, "listing consumer groups").valid
        return frozenset(group.group_id for group in found if group.state not in _WITHOUT_MEMBERS)

    def committed(self, group: str) -> dict[TopicPartition, NextOffset]:
        """What a consumer group has committed; partitions without a commit are absent, an unknown group has none."""
        request = ConsumerGroupTopicPartitions(group)
        [answer] = self._client.list_consumer_group_offsets([request], request_timeout=self._secs).values()
        found = self._wait(answer, f"reading the offsets of group {group!r}").topic_partitions or []
        return {TopicPartition(p.topic, p.partition): NextOffset(p.offset) for p in found if p.offset >= 0}

    def lag(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Records between what a group has committed and the stable end, per partition of these topics.

        A partition without a commit lags by everything that is still there. Transaction markers count as records,
        because nobody but a reader can tell them apart.

        Raises:
            RequestError: A topic does not exist.
        """
        committed = self.committed(group)
        return {p: max(0, ends.stable - committed.get(p, ends.start)) for p, ends in self.ends(topics).items()}

    def configure_group(self, group: str, config: Mapping[str, str]) -> None:
        """Set settings of a consumer or share group, which need not exist yet.

        For example `{"consumer.session.timeout.ms": "6000"}`; under KIP-848 a member's session is the group's matter.
        """
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
        [answer] = self._client.incremental_alter_configs([resource], request_timeout=self._secs).values()
        self._wait(answer, f"configuring group {group!r}")

    def delete_groups(self, groups: Sequence[str]) -> None:
        """Forget consumer groups and their offsets.

        Raises:
            MillraceError: A group has members, or does not exist.
        """
        for name, answer in self._client.delete_consumer_groups(list(groups), request_timeout=self._secs).items():
            self._wait(answer, f"deleting group {name!r}")

    def _latest(self, topics: Iterable[str], isolation: IsolationLevel) -> dict[str, dict[int, NextOffset]]:
        counts = self.partition_counts(topics)
        partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        ends = self._offsets(partitions, OffsetSpec.latest(), isolation)
        return {
            topic: {number: NextOffset(ends[TopicPartition(topic, number)]) for number in range(count)}
            for topic, count in counts.items()
        }

    def _wait(self, answer: "Future[Result]", doing: str) -> Result:
        with self._explained(doing):
            return self._result(answer)

    def _is_done(self, answer: "Future[None]", doing: str, *, unless: int) -> bool:
        """Whether an order was carried out; False where the broker answers `unless`."""
        with self._explained(doing):
            try:
                self._result(answer)
            except KafkaException as error:
                if code_of(error) == unless:
                    return False
                raise
        return True

    def _result(self, answer: "Future[Result]") -> Result:
        """Wait in slices: a client that is refused goes on asking until its time is over."""
        deadline = time.monotonic() + self._secs + 1
        while True:
            try:
                found = answer.result(min(_SLICE_SECS, max(0.0, deadline - time.monotonic())))
                self._notes.admitted()
                return found
            except TimeoutError:
                self._client.poll(0)
                if self._notes.refused or time.monotonic() >= deadline:
                    raise

    def _offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        """Of each partition; what is asked while a partition moves to another broker is asked again."""
        asked = {ck.TopicPartition(p.topic, p.partition): spec for p in partitions}
        deadline = time.monotonic() + self._secs
        while asked:
            answers = self._client.list_offsets(asked, isolation_level=isolation, request_timeout=self._secs)
            try:
                return {
                    TopicPartition(p.topic, p.partition): self._wait(
                        answer, f"asking for the end of {p.topic!r}"
                    ).offset
                    for p, answer in answers.items()
                }
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECS)
        return {}

    def _await_topics(self, names: set[str]) -> None:
        """The controller has them; wait until each broker that answers knows them and who leads them."""
        deadline = time.monotonic() + self._secs
        with self._explained("listing topics"):
            brokers = self._client.list_topics(timeout=self._secs).brokers.values()
        for each in brokers:
            # The first question of a client that knows one broker goes to that broker.
            asked = self._client if len(brokers) == 1 else self._client_of(f"{each.host}:{each.port}")
            while not _knows(asked, names):
                if time.monotonic() > deadline:
                    with suppress(RequestError):
                        self.partition_counts(names)  # Says which of them may not be seen, which no waiting cures.
                    raise _not_yet(names)
                time.sleep(_POLL_SECS)

    def _client_of(self, bootstrap: str) -> AdminClient:
        config = {**self._config, "bootstrap.servers": bootstrap}
        return AdminClient(cast("ClientConfig", config))  # Its types know no callbacks; its code does.

    def _check_existing(self, specs: Sequence[TopicSpec]) -> None:
        names = {spec.name for spec in specs}
        try:
            counts = self.partition_counts(names)
        except RequestError as error:
            # The controller has them: who knows nothing of them is behind.
            raise _not_yet(names) from error
        for spec in specs:
            if counts[spec.name] != spec.partitions:
                raise RequestError(
                    f"topic {spec.name!r} has {counts[spec.name]} partitions, not {spec.partitions}",
                    remedy="ask for as many as it has, or use another topic",
                )
            if (policy := spec.config.get(_IDENTITY)) and (found := self.topic_config(spec.name)[_IDENTITY]) != policy:
                raise RequestError(
                    f"topic {spec.name!r} has {_IDENTITY}={found}, not {policy}",
                    remedy=f"set {_IDENTITY}={policy} on it, or use another topic",
                )

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self._client.poll(0)  # The reason may be waiting in the error callback's queue.
            raise self._notes.explain(error, doing) from error
        except TimeoutError as error:
            silence = KafkaError(KafkaError._TIMED_OUT, "it does not answer")
            raise self._notes.explain(silence, doing) from error


def _not_yet(names: Iterable[str]) -> TransientError:
    return TransientError(
        f"not every broker knows yet who leads {', '.join(sorted(names))}",
        remedy="try again; brokers that are overloaded hear late of new topics",
    )


def _knows(client: AdminClient, names: Iterable[str]) -> bool:
    """Whether a broker knows these topics and who leads each partition; nobody waits for one that does not answer."""
    try:
        topics = client.list_topics(timeout=_ONE_BROKER.total_seconds()).topics
    except KafkaException:
        return True
    found = [topics.get(name) for name in names]
    return all(each and each.partitions and all(p.leader >= 0 for p in each.partitions.values()) for each in found)
