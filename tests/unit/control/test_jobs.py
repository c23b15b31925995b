"""Jobs: what may be launched, and what follows from how one ends."""

from dataclasses import replace

import pytest

from millrace.core.control.fleet import (
    Assignment,
    Fleet,
    Inventory,
    Node,
    Order,
    Process,
    ProcessState,
    Resources,
    Standing,
    Workload,
)
from millrace.core.control.jobs import Job, check_job
from millrace.core.control.reconcile import reconcile
from millrace.core.control.restarts import RestartPolicy
from millrace.core.errors import RequestError

NOW = 1_000_000
JOB = Job("years", "batch")
WORK = Workload("years", "batch", 1, JOB.needs, "d1", ends=True)
HERE = Node("a", Standing.UP, Inventory(4, 8 << 30, kinds=("batch",)))
RUN = Assignment(JOB.slot, Order.RUN, 7, "a", "d1", JOB.needs)
ENDED = Process(JOB.slot, "a", 7, ProcessState.ENDED, ended_ms=NOW, why="exit code 1: no such folder")


def decided(process: Process, *, node: Node = HERE, assignment: Assignment = RUN) -> Assignment | None:
    """What is decided about the job; None where nothing is."""
    fleet = Fleet((WORK,), {JOB.slot: assignment}, {process.key: process}, {"a": node, "b": replace(HERE, name="b")})
    return reconcile(fleet, NOW, RestartPolicy()).get(JOB.slot)


def test_a_job_that_did_its_work_is_done() -> None:
    made = decided(replace(ENDED, exit_code=0))
    assert made is not None
    assert (made.order, made.occupies) == (Order.DONE, False)
    assert decided(replace(ENDED, exit_code=0), assignment=made) is None, "it is not started again"


@pytest.mark.parametrize("code", [1, -9, None])
def test_a_job_that_failed_keeps_the_reason_and_is_not_started_again(code: int | None) -> None:
    made = decided(replace(ENDED, exit_code=code))
    assert made is not None
    assert (made.order, made.why) == (Order.FAILED, "failed: exit code 1: no such folder")
    assert decided(replace(ENDED, exit_code=code), assignment=made) is None


def test_a_job_that_the_node_stopped_or_lost_starts_elsewhere() -> None:
    stopped = decided(replace(ENDED, exit_code=0, asked=True))
    lost = decided(replace(ENDED, state=ProcessState.READY), node=replace(HERE, standing=Standing.LOST))
    assert stopped is not None
    assert lost is not None
    assert (stopped.order, lost.order, lost.node) == (Order.RUN, Order.RUN, "b")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (replace(JOB, name="Years"), "names no job"),
        (replace(JOB, needs=Resources(0, 1 << 30)), "no cores or no memory"),
        (replace(JOB, variables={"DB_PASSWORD": "x"}), "DB_PASSWORD looks like a secret"),
        (replace(JOB, variables={"API_KEY": "x"}), "API_KEY looks like a secret"),
    ],
)
def test_what_nobody_should_launch_is_refused(job: Job, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check_job(job)


def test_what_is_fine_passes() -> None:
    check_job(replace(JOB, variables={"PARALLELISM": "2", "KEYBOARD": "de"}))
