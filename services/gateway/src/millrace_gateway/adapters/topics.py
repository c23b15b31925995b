"""The topics that a gateway writes to: made like the source of their deployment, so that joins stay local."""

from millrace.core.rollout import RolloutMode
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.deployment import Deployment


def ensure_online_topics(admin: Admin, deployment: Deployment) -> None:
    """Create the topics that do not exist and answers go to, with the source topic's number of partitions.

    Raises:
        RequestError: The source topic does not exist, or one of them has another number of partitions.
    """
    source = deployment.source.topic
    partitions = admin.partition_counts([source])[source]
    retention = {"retention.ms": admin.topic_config(source)["retention.ms"]}
    names = [deployment.requests_topic, deployment.predictions_topic]
    if deployment.rollout.mode is not RolloutMode.NONE:
        names.append(deployment.shadows_topic)
    admin.ensure_topics([TopicSpec(name, partitions, retention) for name in names])
