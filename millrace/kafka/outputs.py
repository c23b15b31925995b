"""The topics that a deployment writes to: made like their source, so that joins stay local and nothing is too large."""

from collections.abc import Sequence
from typing import Final

from millrace.core.rollout import RolloutMode
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.deployment import Deployment

_HEADER_ROOM_BYTES: Final = 65_536
"""A dead letter is its record and the story of its failure."""

_KEPT: Final = {"cleanup.policy": "delete", "retention.ms": "-1"}
"""Which version answered when is asked for as long as there are predictions; it is a few records a year."""


def ensure_output_topics(admin: Admin, deployment: Deployment) -> None:
    """Create the output topics that do not exist, with the source topic's number of partitions.

    Raises:
        RequestError: The source topic does not exist, or an output topic has another number of partitions.
    """
    names = [deployment.predictions_topic, deployment.dead_letters_topic]
    if deployment.rollout.mode is not RolloutMode.NONE:
        names.append(deployment.shadows_topic)
    if deployment.overload.shed_after is not None:
        names.append(deployment.late_topic)
    outputs = _like(admin, deployment.source.topic, names)
    admin.ensure_topics([*outputs, TopicSpec(deployment.handovers_topic, outputs[0].partitions, _KEPT)])


def ensure_alike(admin: Admin, source: str, names: Sequence[str]) -> None:
    """Create the topics that do not exist, with a source topic's number of partitions.

    Raises:
        RequestError: The source topic does not exist, or one of the topics has another number of partitions.
    """
    admin.ensure_topics(_like(admin, source, names))


def _like(admin: Admin, source: str, names: Sequence[str]) -> list[TopicSpec]:
    settings = admin.topic_config(source)
    config = {
        "max.message.bytes": str(int(settings["max.message.bytes"]) + _HEADER_ROOM_BYTES),
        # Outputs have the timestamps of their inputs: kept for less, those of old records would be gone at once.
        "retention.ms": settings["retention.ms"],
    }
    partitions = admin.partition_counts([source])[source]
    return [TopicSpec(name, partitions, config) for name in names]
