from dataclasses import replace

import pytest

from millrace.core.control.fleet import Assignment, Order, Process, ProcessState, Slot
from millrace.core.control.tending import Decline, Drain, Forget, Start, Step, tend

SLOT = Slot("rain", "scorer", 0)
RUN = Assignment(SLOT, Order.RUN, 7, "a")
STOP = replace(RUN, order=Order.STOP)
UP = Process(SLOT, "a", 7, ProcessState.READY)
OVER = replace(UP, state=ProcessState.ENDED)


def steps(assignment: Assignment | None, process: Process | None) -> list[Step]:
    assignments = {} if assignment is None else {SLOT: assignment}
    return list(tend("a", assignments, {} if process is None else {SLOT: process}))


@pytest.mark.parametrize(
    ("assignment", "process", "expected"),
    [
        (RUN, None, [Start(RUN)]),
        (RUN, UP, []),
        (RUN, OVER, []),
        (RUN, replace(OVER, launch=6), [Start(RUN)]),
        (RUN, replace(UP, launch=6), [Drain(SLOT, 6)]),
        (STOP, UP, [Drain(SLOT, 7)]),
        (STOP, replace(UP, state=ProcessState.DRAINING), []),
        (STOP, None, [Decline(STOP)]),
        (STOP, replace(OVER, launch=6), [Decline(STOP)]),
        (STOP, OVER, []),
        (replace(RUN, order=Order.WAIT), OVER, []),
        (replace(RUN, node="b"), UP, [Drain(SLOT, 7)]),
        (replace(RUN, node="b"), OVER, [Forget(SLOT)]),
        (replace(RUN, node="b"), None, []),
        (None, UP, [Drain(SLOT, 7)]),
        (None, OVER, [Forget(SLOT)]),
    ],
)
def test_a_node_does_what_was_decided(
    assignment: Assignment | None, process: Process | None, expected: list[Step]
) -> None:
    assert steps(assignment, process) == expected
