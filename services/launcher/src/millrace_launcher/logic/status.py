"""How a deployment fares, and why something does not run, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from millrace.core.control.fleet import Assignment, Fleet, Order, Process, ProcessState, Slot
from millrace_launcher.logic.desired import Desired


class State(StrEnum):
    """How a deployment fares, the worst of its slots first."""

    INVALID = "invalid"
    """Its document cannot be read."""
    FAILED = "failed"
    """A process crashed again and again and is not started any more."""
    WAITING = "waiting"
    """A process has no node, or waits after a crash."""
    STARTING = "starting"
    """A process is not ready yet, or not any more."""
    READY = "ready"
    """Every process that is desired does its work."""
    DONE = "done"
    """It was a job, and has done its work."""
    STOPPED = "stopped"
    """None is desired, and none runs."""


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot, from decision to process.

    Attributes:
        slot: The slot.
        assignment: What was decided; None where nothing was yet.
        process: What its node says about that; None where nothing yet.
        state: How it fares.
        why: The reason, in one line.
    """

    slot: Slot
    assignment: Assignment | None
    process: Process | None
    state: State
    why: str


@dataclass(frozen=True, slots=True)
class Status:
    """A deployment, from document to processes.

    Attributes:
        name: Its name.
        state: How it fares.
        why: The reason of the first slot that is worst off; empty where all is well.
        ready: Processes that do their work.
        desired: Processes that are desired.
        slots: All slots, those that are being given up included.
    """

    name: str
    state: State
    why: str
    ready: int
    desired: int
    slots: tuple[SlotStatus, ...]

    @property
    def since_ms(self) -> int:
        """When the oldest of its processes was started, milliseconds since 1970; 0 where none was."""
        return min((found.process.started_ms for found in self.slots if found.process), default=0)


def status_of(name: str, fleet: Fleet, desired: Desired) -> Status:
    """How a deployment fares; one that is deleted is stopped when its last process has ended."""
    wanted = [slot for work in fleet.workloads if work.deployment == name for slot in work.slots]
    slots = tuple(_slots(name, wanted, fleet))
    ready = sum(found.state is State.READY and found.slot in wanted for found in slots)
    if (fault := desired.faults.get(name)) is not None:
        return Status(name, State.INVALID, fault, ready, len(wanted), slots)
    ranked = sorted(slots, key=lambda found: list(State).index(found.state))
    if not ranked:
        return Status(name, State.STOPPED, "", 0, 0, ())
    worst = ranked[0]
    why = "" if worst.state in {State.READY, State.DONE} else f"{worst.slot}: {worst.why}"
    return Status(name, worst.state, why, ready, len(wanted), slots)


def explain(status: Status, *, before: str = "", findings: Sequence[str] = ()) -> list[str]:
    """Why a deployment is as it is: the cause first, then every slot from decision to process, a line each.

    Args:
        status: How it fares.
        before: What makes everything else old news; empty where there is nothing of the kind.
        findings: What hurts it though its processes are all well.
    """
    summary = status.why or f"{status.name} is {status.state}: {status.ready} of {status.desired} processes are ready"
    lines = [*filter(None, [before]), *findings, summary]
    for found in status.slots:
        lines.append(f"{found.slot}: {found.state}")
        if found.assignment is not None:
            where = f" on node {found.assignment.node}" if found.assignment.occupies else ""
            lines.append(f"  decided: {found.assignment.order}{where}, because: {found.assignment.why}")
        if found.process is not None:
            pid = f" (process {found.process.pid})" if found.process.pid else ""
            lines.append(f"  {found.process.node} says: {found.process.state}{pid}: {found.process.why}")
    return lines


def _slots(name: str, wanted: list[Slot], fleet: Fleet) -> Iterator[SlotStatus]:
    known = {slot for slot in fleet.assignments if slot.deployment == name}
    for slot in sorted(known.union(wanted)):
        assignment = fleet.assignments.get(slot)
        process = _process(slot, assignment, fleet)
        state, why = _judge(assignment, process, fleet)
        yield SlotStatus(slot, assignment, process, state, why)


def _process(slot: Slot, assignment: Assignment | None, fleet: Fleet) -> Process | None:
    """The process of the assignment; where none was started yet, the one before it."""
    if assignment is None or assignment.node is None:
        return None
    return fleet.process(assignment) or fleet.processes.get((slot, assignment.node))


def _judge(assignment: Assignment | None, process: Process | None, fleet: Fleet) -> tuple[State, str]:
    if assignment is None:
        return State.WAITING, "no controller has decided yet; is a node up? see `millrace nodes`"
    match assignment.order:
        case Order.FAILED:
            return State.FAILED, assignment.why
        case Order.WAIT:
            return State.WAITING, assignment.why
        case Order.DONE:
            return State.DONE, assignment.why
        case Order.STOP:
            return State.STARTING, f"it is being stopped: {assignment.why}"
        case Order.RUN:
            return _judge_running(assignment, process, fleet)


def _judge_running(assignment: Assignment, process: Process | None, fleet: Fleet) -> tuple[State, str]:
    if fleet.is_lost(assignment.node):
        return State.WAITING, f"node {assignment.node} was lost"
    if process is None or process.launch != assignment.launch:
        if assignment.crashes:
            return State.STARTING, f"{assignment.why}; about to be started again"
        return State.STARTING, f"node {assignment.node} has not started it yet ({assignment.why})"
    if process.state is ProcessState.READY:
        return State.READY, process.why
    if assignment.crashes and process.ready_ms is None:
        return State.STARTING, f"{assignment.why}; started again, and {process.state}: {process.why}"
    return State.STARTING, f"{process.state}: {process.why}"
