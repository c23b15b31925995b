"""What a change of a deployment would do, before it is made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from millrace.core.control.differences import differences
from millrace.core.control.fleet import Assignment, Fleet, Order, Slot
from millrace.core.control.reconcile import reconcile
from millrace.core.control.restarts import RestartPolicy
from millrace.process.deployment import Deployment
from millrace_launcher.logic.desired import workloads_of
from millrace_launcher.logic.kinds import Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen.

    Attributes:
        changes: What the document would say differently, a line each.
        decisions: What the controller would decide at once, a line each; what follows from that comes later.
        faults: What will not work, a line each with the remedy.
    """

    changes: tuple[str, ...]
    decisions: tuple[str, ...]
    faults: tuple[str, ...]


def make_plan(
    fleet: Fleet,
    kinds: Iterable[Kind],
    *,
    before: Deployment | None,
    after: Deployment,
    faults: Iterable[str],
    now_ms: int,
) -> Plan:
    """What putting `after` in the place of `before` would do.

    Args:
        fleet: As it is now.
        kinds: The kinds of process that are known.
        before: The deployment as it is; None where there is none.
        after: The deployment as it shall be.
        faults: What is known to be wrong with it besides.
        now_ms: The time, milliseconds since 1970.
    """
    name = after.deployment
    others = tuple(work for work in fleet.workloads if work.deployment != name)
    changed = replace(
        fleet,
        workloads=(*others, *workloads_of(after, kinds)),
        unreadable=fleet.unreadable - {name},
    )
    decided = reconcile(changed, now_ms, RestartPolicy())
    mine = {slot: found for slot, found in decided.items() if slot.deployment == name}
    unplaced = (found.why for found in mine.values() if found is not None and found.order is Order.WAIT)
    return Plan(
        changes=tuple(differences({} if before is None else before.document(), after.document())),
        decisions=tuple(_say(slot, found) for slot, found in sorted(mine.items())),
        faults=(*faults, *dict.fromkeys(unplaced)),
    )


def _say(slot: Slot, assignment: Assignment | None) -> str:
    if assignment is None:
        return f"forget {slot}"
    where = f" on node {assignment.node}" if assignment.node else ""
    match assignment.order:
        case Order.RUN:
            return f"start {slot}{where}"
        case Order.STOP:
            return f"stop {slot}{where}"
        case Order.WAIT:
            return f"leave {slot} waiting: {assignment.why}"
        case Order.FAILED:
            return f"give up {slot}: {assignment.why}"
        case Order.DONE:
            return f"leave {slot} as it is: {assignment.why}"
