"""The topics of the auditor: which they are, and how they are made where they do not exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.deployment import Deployment

ALERTS: Final = "millrace.alerts"
REQUESTS: Final = "millrace.retrain-requests"

_WINDOWS: Final[Mapping[str, str]] = {"cleanup.policy": "compact,delete", "retention.ms": str(365 * 86_400_000)}
# Snapshots replace each other every few seconds: small segments and eager compaction keep a restart short.
_SNAPSHOTS: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "segment.bytes": str(32 * 1024 * 1024),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
}


@dataclass(frozen=True, slots=True)
class AuditTopics:
    """Names of a deployment's topics that the auditor reads or writes."""

    predictions: str
    labels: str
    evidence: str
    audits: str
    unjoined: str
    state: str

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """The topics of a deployment."""
        name = deployment.deployment
        return cls(
            deployment.predictions_topic,
            deployment.labels_topic,
            f"{name}.evidence",
            f"{name}.audits",
            f"{name}.unjoined",
            f"{name}.audit-state",
        )


@dataclass(frozen=True, slots=True)
class RolloutTopics:
    """Names of a deployment's topics that a rollout is judged by."""

    shadows: str
    rollouts: str
    unjoined: str
    state: str

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """The topics of a deployment."""
        name = deployment.deployment
        return cls(deployment.shadows_topic, f"{name}.rollouts", f"{name}.unjoined", f"{name}.rollout-state")


def ensure_rollout_topics(admin: Admin, deployment: Deployment, partitions: int) -> None:
    """Create what does not exist; the pairs have as many partitions as the predictions, what follows has one.

    Raises:
        RequestError: A topic exists with another number of partitions.
    """
    topics = RolloutTopics.of(deployment)
    # Shadow records have the timestamps of their events: kept for less, old ones would be gone at once.
    kept = {"retention.ms": admin.topic_config(deployment.predictions_topic)["retention.ms"]}
    admin.ensure_topics(
        [
            TopicSpec(topics.shadows, partitions, kept),
            TopicSpec(topics.state, partitions, _SNAPSHOTS),
            TopicSpec(topics.rollouts, 1, _WINDOWS),
        ]
    )


def ensure_topics(admin: Admin, deployment: Deployment) -> int:
    """Create what does not exist; returns how many partitions the predictions have.

    Evidence has one partition: it is little, and whoever is assigned it is the judge.

    Raises:
        RequestError: Nothing has been predicted yet, or the labels have another number of partitions.
    """
    topics = AuditTopics.of(deployment)
    partitions = admin.partition_counts([topics.predictions])[topics.predictions]
    admin.ensure_topics(
        [
            TopicSpec(topics.labels, partitions),
            TopicSpec(topics.unjoined, partitions),
            TopicSpec(topics.state, partitions, _SNAPSHOTS),
            TopicSpec(topics.evidence, 1, _WINDOWS),
            TopicSpec(topics.audits, 1, _WINDOWS),
            TopicSpec(ALERTS, 1, _WINDOWS),
            TopicSpec(REQUESTS, 1, {"cleanup.policy": "delete", "retention.ms": "-1"}),
        ]
    )
    return partitions
