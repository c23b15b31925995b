"""From what is desired and what is there to what shall be done about each slot.

One slot has at most one process at a time: another launch is decided only when the one before it is known to be over,
either because its node says so or because the node was silent for longer than its lease, after which it stops its own
processes. So no count is ever above the desired one, but for those that are still draining after it was lowered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, TypeAlias

from millrace.core.control.fleet import Assignment, Fleet, Order, Process, ProcessState, Slot, Workload
from millrace.core.control.placement import NoPlace, place
from millrace.core.control.restarts import RestartPolicy

Decisions: TypeAlias = Mapping[Slot, Assignment | None]
"""New assignments; None for a slot that is wanted no more and empty."""

_MS: Final = timedelta(milliseconds=1)


def reconcile(fleet: Fleet, now_ms: int, policy: RestartPolicy) -> Decisions:
    """What shall be done now. Slots about which nothing changes are absent.

    Args:
        fleet: What is desired, what was decided and what there is.
        now_ms: The time, milliseconds since 1970; of all things here it only delays restarts.
        policy: When a process that crashed may start again.
    """
    return _Turn(fleet, now_ms, policy).decide()


@dataclass(slots=True)
class _Turn:
    """One look at the fleet. Later slots see what was decided about earlier ones."""

    fleet: Fleet
    now_ms: int
    policy: RestartPolicy
    current: dict[Slot, Assignment] = field(init=False)

    def __post_init__(self) -> None:
        self.current = dict(self.fleet.assignments)

    def decide(self) -> Decisions:
        for workload in self.fleet.workloads:
            for slot in workload.slots:
                self.current[slot] = self._wanted(slot, workload)
        decided: dict[Slot, Assignment | None] = dict(self._changes())
        decided.update(self._unwanted())
        return decided

    def _changes(self) -> Iterator[tuple[Slot, Assignment]]:
        for slot, assignment in self.current.items():
            before = self.fleet.assignments.get(slot)
            # When it was decided is no reason to decide it again.
            if before is None or replace(assignment, decided_ms=before.decided_ms) != before:
                yield slot, assignment

    def _unwanted(self) -> Iterator[tuple[Slot, Assignment | None]]:
        wanted = {slot for workload in self.fleet.workloads for slot in workload.slots}
        for slot, assignment in self.fleet.assignments.items():
            if slot in wanted or slot.deployment in self.fleet.unreadable:
                continue
            if self.fleet.is_over(assignment):
                yield slot, None
            elif assignment.order is Order.RUN:
                yield slot, self._stop(assignment, "no longer desired")

    def _wanted(self, slot: Slot, workload: Workload) -> Assignment:
        """What shall be about a slot that is desired."""
        assignment = self.fleet.assignments.get(slot)
        if assignment is None:
            return self._start(Assignment(slot, Order.WAIT), workload, "desired")
        if not assignment.occupies:
            return self._idle(assignment, workload)
        if not self.fleet.is_over(assignment):
            return self._occupied(assignment, workload)
        if assignment.order is Order.STOP:
            return self._start(assignment, workload, "stopped, and desired again")
        return self._again(assignment, workload)

    def _idle(self, assignment: Assignment, workload: Workload) -> Assignment:
        """Where nothing runs and nothing was to run."""
        if assignment.digest != workload.digest:
            return self._start(assignment, workload, "the deployment changed")
        if assignment.order is Order.WAIT and assignment.not_before_ms <= self.now_ms:
            return self._start(assignment, workload, assignment.why if assignment.crashes else "desired")
        return assignment

    def _occupied(self, assignment: Assignment, workload: Workload) -> Assignment:
        """Where a process is, or is about to be."""
        is_outdated = assignment.digest != workload.digest
        if assignment.order is Order.RUN and is_outdated and self._may_be_replaced(assignment, workload):
            return self._stop(assignment, "the deployment changed")
        return assignment

    def _again(self, assignment: Assignment, workload: Workload) -> Assignment:
        """After a launch that is over and should not be."""
        process = self.fleet.process(assignment)
        if self.fleet.is_lost(assignment.node):
            return self._start(assignment, workload, f"node {assignment.node} was lost")
        if process is None or process.asked:
            return self._start(assignment, workload, f"node {assignment.node} stopped it")
        if assignment.digest != workload.digest:
            return self._start(assignment, workload, "the deployment changed")
        if workload.ends:
            return self._after_work(assignment, process, workload)
        return self._after_crash(assignment, process, workload)

    def _after_work(self, assignment: Assignment, process: Process, workload: Workload) -> Assignment:
        """A job that failed is not started again: nobody knows whether its work may be done twice."""
        ended = replace(assignment, decided_ms=self.now_ms, needs=workload.needs, gpus=())
        if process.exit_code == 0:
            return replace(ended, order=Order.DONE, why="it did its work and ended")
        return replace(ended, order=Order.FAILED, why=f"failed: {process.why}")

    def _after_crash(self, assignment: Assignment, process: Process, workload: Workload) -> Assignment:
        crashes = self.policy.crashes(assignment.crashes, process)
        counted = replace(assignment, crashes=crashes, decided_ms=self.now_ms, needs=workload.needs, gpus=())
        if crashes > self.policy.tries:
            return replace(counted, order=Order.FAILED, why=f"crashed {crashes} times in a row: {process.why}")
        wait = self.policy.wait(crashes)
        why = f"crashed: {process.why}" if crashes == 1 else f"crashed {crashes} times in a row: {process.why}"
        if not wait:
            return self._start(counted, workload, why)
        return replace(counted, order=Order.WAIT, not_before_ms=self.now_ms + wait // _MS, why=why)

    def _start(self, assignment: Assignment, workload: Workload, why: str) -> Assignment:
        """The next launch where a node fits; else waiting, with what every node lacks."""
        decided = replace(
            assignment,
            digest=workload.digest,
            needs=workload.needs,
            gpus=(),
            # What an earlier document did says nothing about this one.
            crashes=assignment.crashes if assignment.digest == workload.digest else 0,
            not_before_ms=0,
            decided_ms=self.now_ms,
        )
        found = place(workload, self.fleet.nodes, self._occupying(assignment.slot))
        if isinstance(found, NoPlace):
            return replace(decided, order=Order.WAIT, why=found.why)
        launch = max(assignment.launch + 1, self.now_ms)
        return replace(decided, order=Order.RUN, launch=launch, node=found.node, gpus=found.gpus, why=why)

    def _stop(self, assignment: Assignment, why: str) -> Assignment:
        return replace(assignment, order=Order.STOP, decided_ms=self.now_ms, why=why)

    def _occupying(self, besides: Slot) -> list[Assignment]:
        """What takes room on a node, decisions of this turn included."""
        return [
            assignment
            for slot, assignment in self.current.items()
            if slot != besides and assignment.occupies and not self.fleet.is_over(assignment)
        ]

    def _may_be_replaced(self, assignment: Assignment, workload: Workload) -> bool:
        """Whether a process with an outdated document may stop now.

        One that serves nobody may at once. One that does its work waits until all its kin do theirs, so that a change
        takes them one after the other, and ends with the first when the new document does not work.
        """
        if not self._is_ready(assignment):
            return True
        kin = (self.current[slot] for slot in workload.slots if slot != assignment.slot and slot in self.current)
        return all(self._is_ready(other) or _lacks_a_node(other) for other in kin)

    def _is_ready(self, assignment: Assignment) -> bool:
        process = self.fleet.process(assignment)
        return assignment.order is Order.RUN and process is not None and process.state is ProcessState.READY


def _lacks_a_node(assignment: Assignment) -> bool:
    return assignment.order is Order.WAIT and not assignment.crashes
