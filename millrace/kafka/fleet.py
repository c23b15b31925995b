"""The topics of the fleet: which nodes there are, what was decided about each slot, and what runs."""

from typing import Final

from millrace.kafka.admin import TopicSpec

NODES_TOPIC: Final = "millrace.nodes"
ASSIGNMENTS_TOPIC: Final = "millrace.assignments"
PROCESSES_TOPIC: Final = "millrace.processes"

_SMALL: Final = {"segment.bytes": str(4 << 20), "min.cleanable.dirty.ratio": "0.1", "max.compaction.lag.ms": "600000"}
"""Who starts reads all of it: what is overwritten every second must not lie there for a week."""

FLEET_TOPICS: Final = (
    TopicSpec(NODES_TOPIC, 1, {"cleanup.policy": "compact,delete", "retention.ms": "86400000", **_SMALL}),
    TopicSpec(ASSIGNMENTS_TOPIC, 1, {"cleanup.policy": "compact", **_SMALL}),
    TopicSpec(PROCESSES_TOPIC, 1, {"cleanup.policy": "compact", **_SMALL}),
)
"""As they are created where they do not exist."""
