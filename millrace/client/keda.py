"""A deployment's scaling as KEDA is told it: for scorers that run on Kubernetes, where KEDA changes their number."""

from collections.abc import Mapping
from typing import Any, Final

from millrace.client.local import find_kafka
from millrace.process.deployment import AutoScale, Deployment

_LAG_THRESHOLD: Final = 10
"""KEDA's own. It knows no latency goal, so it needs a number of records where the document names none."""


def scaled_object(document: Mapping[str, Any], *, bootstrap: str | None = None) -> dict[str, Any]:
    """KEDA's `ScaledObject` that says what the section `scale.auto` says, for a StatefulSet of its name.

    A StatefulSet and not a Deployment, because its pods have numbers: two scorers of one slot would fence each other.

    A deployment whose number does not follow the load gets the defaults. KEDA scales by lag alone; what it has no word
    for, the latency goal and the learned cost, is left out.

    Args:
        document: A deployment document as JSON values.
        bootstrap: Brokers as seen from the cluster, `host:port`, separated by commas; the environment's or the local
            broker where absent.

    Raises:
        RequestError: It is no valid deployment, or no broker is named or runs here.
    """
    deployment = Deployment.parse(document, subject="the deployment")
    auto = deployment.scale.auto or AutoScale()
    trigger = {
        "bootstrapServers": find_kafka(bootstrap).bootstrap,
        "consumerGroup": deployment.group_id,
        "topic": deployment.source.topic,
        "lagThreshold": auto.lag_threshold or _LAG_THRESHOLD,
        "activationLagThreshold": auto.activation_lag_threshold,
        "offsetResetPolicy": deployment.source.start.value,
        "allowIdleConsumers": auto.allow_idle_consumers,
        "excludePersistentLag": auto.exclude_persistent_lag,
    }
    name = f"millrace-{deployment.deployment}-scorer"
    annotations = {"autoscaling.keda.sh/paused": "true"} if auto.paused else {}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "pollingInterval": auto.polling_interval,
            "cooldownPeriod": auto.cooldown_period,
            "minReplicaCount": auto.min_replica_count,
            "maxReplicaCount": auto.max_replica_count,
            # All values of a trigger are texts, also numbers and truths.
            "triggers": [{"type": "kafka", "metadata": {key: _text(value) for key, value in trigger.items()}}],
        },
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
