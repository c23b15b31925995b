"""What a cluster is and how it fares, for those who diagnose it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from millrace.core.records import TopicPartition
from millrace.kafka.connection import QUIET, REACH, ConnectionNotes, await_metadata
from millrace.process.settings import KafkaSettings

_PROTOCOLS: Final = "group.coordinator.rebalance.protocols"
_SETTINGS: Final = (_PROTOCOLS, "auto.create.topics.enable", "unclean.leader.election.enable")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as one of its brokers describes it.

    Attributes:
        cluster_id: Kafka's name for it.
        brokers: How many brokers it has.
        topics: Names of the topics that this client may see, internal ones left out.
        leaderless: Partitions without a leader: nobody can read or write them.
        short_of_replicas: Partitions that have fewer replicas in sync than they should.
        settings: The broker's settings that matter here, as far as this client may see them.
    """

    cluster_id: str
    brokers: int
    topics: frozenset[str]
    leaderless: tuple[TopicPartition, ...]
    short_of_replicas: tuple[TopicPartition, ...]
    settings: Mapping[str, str]

    @property
    def group_protocols(self) -> tuple[str, ...]:
        """How consumer groups may agree; `consumer` is KIP-848. Empty where this client may not see it."""
        return tuple(filter(None, self.settings.get(_PROTOCOLS, "").split(",")))


def describe_cluster(kafka: KafkaSettings, *, within: timedelta = REACH) -> Cluster:
    """Ask a cluster how it fares. Blocks until it answers, at most `within` per question.

    Raises:
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    notes = ConnectionNotes()
    doing = f"reaching {kafka.bootstrap}"
    settings: dict[str, Any] = {**kafka.client(**QUIET), "error_cb": notes.heard}
    client = AdminClient(settings)
    metadata = await_metadata(client, None, notes, doing=doing, within=within)
    partitions = [
        (TopicPartition(name, number), partition)
        for name, topic in metadata.topics.items()
        for number, partition in topic.partitions.items()
    ]
    return Cluster(
        cluster_id=str(metadata.cluster_id),
        brokers=len(metadata.brokers),
        topics=frozenset(name for name in metadata.topics if not name.startswith("__")),
        leaderless=tuple(sorted(at for at, partition in partitions if partition.leader < 0)),
        short_of_replicas=tuple(
            sorted(at for at, partition in partitions if len(partition.isrs) < len(partition.replicas))
        ),
        settings=_settings(client, min(metadata.brokers), within),
    )


def _settings(client: AdminClient, broker: int, within: timedelta) -> dict[str, str]:
    """The broker's settings; none where the broker does not show them to this client."""
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    secs = within.total_seconds()
    try:
        [answer] = client.describe_configs([resource], request_timeout=secs).values()
        entries = answer.result(secs + 1)
    except (KafkaException, TimeoutError):
        return {}
    return {name: entries[name].value for name in _SETTINGS if name in entries}
