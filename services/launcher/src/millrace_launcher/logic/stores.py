"""Whether a node's processes need an online store."""

from collections.abc import Mapping
from typing import Final

from millrace.core.control.fleet import Assignment, Order, Slot
from millrace.process.deployment import Deployment

_KEEPERS: Final = frozenset({"materializer", "table"})
"""Kinds that write to it."""


def needs_online_store(
    node: str, assignments: Mapping[Slot, Assignment], deployments: Mapping[str, Deployment]
) -> bool:
    """Whether something that shall run on the node reads from an online store, or writes to it."""
    return any(
        slot.kind in _KEEPERS or bool(deployments[slot.deployment].enrich)
        for slot, assignment in assignments.items()
        if assignment.node == node and assignment.order is Order.RUN and slot.deployment in deployments
    )
