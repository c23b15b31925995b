"""What a node does about its slots: start what is assigned to it, drain what is not, forget what is over.

A node acts on what was decided and on what it runs, never on what it did before: it may have been started again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from millrace.core.control.fleet import Assignment, Order, Process, ProcessState, Slot


@dataclass(frozen=True, slots=True)
class Start:
    """Start the launch that was assigned."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Decline:
    """Say that the launch is over: it was withdrawn before it began, and the controller waits for its end."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask the process to end; whoever carries it out kills it when it takes too long."""

    slot: Slot
    launch: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Nobody will ask for the end of this process any more."""

    slot: Slot


Step: TypeAlias = Start | Decline | Drain | Forget


def tend(node: str, assignments: Mapping[Slot, Assignment], here: Mapping[Slot, Process]) -> Iterator[Step]:
    """What a node does next.

    A launch that is assigned and has ended is left alone: what follows from that is the controller's decision.

    Args:
        node: Its name.
        assignments: All decisions, as far as the node has read them.
        here: The latest process of each slot on this node.
    """
    for slot, process in here.items():
        assignment = assignments.get(slot)
        is_ours = assignment is not None and assignment.node == node
        may_run = is_ours and assignment is not None and _is_to_run(assignment, process.launch)
        if process.state is ProcessState.ENDED:
            if not is_ours:
                yield Forget(slot)
        elif not may_run and process.state is not ProcessState.DRAINING:
            yield Drain(slot, process.launch)
    for slot, assignment in assignments.items():
        if assignment.node == node and assignment.occupies and _is_new(assignment, here.get(slot)):
            yield Start(assignment) if assignment.order is Order.RUN else Decline(assignment)


def _is_new(assignment: Assignment, found: Process | None) -> bool:
    """Whether the node has had nothing to do with this launch, and is free for it."""
    return found is None or (found.state is ProcessState.ENDED and found.launch != assignment.launch)


def _is_to_run(assignment: Assignment, launch: int) -> bool:
    return assignment.order is Order.RUN and assignment.launch == launch
