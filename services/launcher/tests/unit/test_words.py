"""What the launcher says: states, reasons, plans, ends of processes."""

import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.core.control.differences import differences
from millrace.core.control.fleet import (
    Assignment,
    Fleet,
    Heartbeat,
    Inventory,
    Node,
    NodeState,
    Order,
    Process,
    ProcessState,
    Resources,
    Slot,
    Standing,
)
from millrace.process.deployment import Deployment
from millrace_launcher.logic.desired import digest_of, read_desired, workloads_of
from millrace_launcher.logic.exits import explain_exit
from millrace_launcher.logic.kinds import BUILT_IN
from millrace_launcher.logic.plan import make_plan
from millrace_launcher.logic.ports import Running
from millrace_launcher.logic.reporting import describe
from millrace_launcher.logic.standing import MARGIN, SILENT, Heard, standing
from millrace_launcher.logic.status import State, explain, status_of

DOCUMENT = {"deployment": "rain", "source": {"topic": "rain.features"}, "model": "rain"}
RAIN = Deployment.parse(DOCUMENT, subject="test")
SLOT = Slot("rain", "scorer", 0)
SCORER = BUILT_IN[0]
HERE = Node("a", Standing.UP, Inventory(2, 8 << 30, kinds=("scorer", "trainer")))
RUN = Assignment(SLOT, Order.RUN, 7, "a", why="desired")
READY = Process(SLOT, "a", 7, ProcessState.READY, pid=42, why="ready")


def fleet(assignment: Assignment | None = None, process: Process | None = None) -> Fleet:
    desired = read_desired({"rain": DOCUMENT}, BUILT_IN)
    return Fleet(
        desired.workloads,
        {} if assignment is None else {SLOT: assignment},
        {} if process is None else {process.key: process},
        {"a": HERE},
    )


@pytest.mark.parametrize(
    ("assignment", "process", "state", "why"),
    [
        (None, None, State.WAITING, "no controller has decided yet"),
        (RUN, None, State.STARTING, "node a has not started it yet (desired)"),
        (RUN, replace(READY, launch=6), State.STARTING, "node a has not started it yet"),
        (RUN, replace(READY, state=ProcessState.STARTING, why="loading"), State.STARTING, "starting: loading"),
        (RUN, READY, State.READY, ""),
        (replace(RUN, node="gone"), None, State.WAITING, "node gone was lost"),
        (replace(RUN, order=Order.STOP), READY, State.STARTING, "it is being stopped"),
        (Assignment(SLOT, Order.WAIT, why="no node fits"), None, State.WAITING, "no node fits"),
        (replace(RUN, order=Order.FAILED, why="crashed 6 times"), None, State.FAILED, "crashed 6 times"),
    ],
)
def test_the_first_line_names_the_cause(
    assignment: Assignment | None, process: Process | None, state: State, why: str
) -> None:
    status = status_of("rain", fleet(assignment, process), read_desired({"rain": DOCUMENT}, BUILT_IN))
    assert status.state is state
    assert why in status.why
    assert status.why in explain(status)[0]


def test_a_document_that_cannot_be_read_hurts_no_other() -> None:
    desired = read_desired({"rain": DOCUMENT, "snow": {"deployment": "snow"}}, BUILT_IN)
    assert [work.deployment for work in desired.workloads] == ["rain"]
    status = status_of("snow", Fleet(desired.workloads), desired)
    assert (status.state, "is missing" in status.why) == (State.INVALID, True)


def test_a_deployment_of_nothing_is_stopped() -> None:
    assert status_of("rain", Fleet(), read_desired({}, BUILT_IN)).state is State.STOPPED


def test_a_deployment_asks_for_each_kind() -> None:
    scale = {"scorers": 2, "auditors": 1, "gpus": 1, "memory_mb": 100, "training": "training.yaml"}
    wanted = Deployment.parse({**DOCUMENT, "scale": scale}, subject="test")
    found = {work.kind: work for work in workloads_of(wanted, BUILT_IN)}
    assert {kind: work.count for kind, work in found.items()} == {"scorer": 2, "auditor": 1, "trainer": 1}
    assert found["scorer"].needs == Resources(0.5, 100 << 20, 1)
    assert found["auditor"].needs.gpus == 0, "GPUs are for scorers"


def test_scaling_restarts_nobody_and_another_model_everybody() -> None:
    more = Deployment.parse({**DOCUMENT, "scale": {"scorers": 9, "auditors": 2}}, subject="test")
    other = Deployment.parse({**DOCUMENT, "model": "rain/2"}, subject="test")
    larger = Deployment.parse({**DOCUMENT, "scale": {"memory_mb": 2048}}, subject="test")
    assert digest_of(more, SCORER) == digest_of(RAIN, SCORER)
    assert len({digest_of(found, SCORER) for found in (RAIN, other, larger)}) == 3


def test_a_plan_says_what_changes_and_what_will_not_work() -> None:
    wanted = Deployment.parse({**DOCUMENT, "scale": {"scorers": 9}}, subject="test")
    plan = make_plan(fleet(RUN, READY), BUILT_IN, before=RAIN, after=wanted, faults=["no topic"], now_ms=9)
    assert plan.changes == ("scale.scorers: default -> 9",)
    assert "start rain/scorer/1 on node a" in plan.decisions
    assert plan.faults[0] == "no topic"
    assert plan.faults[1] == "no node fits: a has 0 of 2 cores free, needed 0.5"


def test_equal_documents_differ_in_nothing() -> None:
    assert list(differences(DOCUMENT, DOCUMENT)) == []


@pytest.mark.parametrize(
    ("code", "noted", "lines", "said"),
    [
        (-int(signal.SIGKILL), "", [], "killed by signal 9 (SIGKILL)"),
        (None, "", [], "it vanished"),
        (0, "", [], "exit code 0"),
        (1, "", ["", "Traceback", "ValueError: no", " "], "exit code 1: ValueError: no"),
        (1, "out of memory: used 9 MiB of 8 MiB", ["x"], "out of memory: used 9 MiB of 8 MiB"),
        (
            2,
            "",
            ['{"level":"error","event":"there is no such topic","remedy":"create it"}', '{"level":"info","event":"x"}'],
            "exit code 2: there is no such topic (create it)",
        ),
    ],
)
def test_the_end_of_a_process_has_a_reason(code: int | None, noted: str, lines: list[str], said: str) -> None:
    assert said in explain_exit(code, noted, lines)


@pytest.mark.parametrize(
    ("state", "silence", "is_live", "expected"),
    [
        (NodeState.UP, timedelta(0), True, Standing.UP),
        (NodeState.UP, timedelta(0), False, Standing.SILENT),
        (NodeState.UP, SILENT * 1.1, True, Standing.SILENT),
        (NodeState.UP, timedelta(seconds=6.1) + MARGIN, True, Standing.LOST),
        (NodeState.LEAVING, timedelta(0), True, Standing.LEAVING),
        (NodeState.LEFT, timedelta(0), True, Standing.LOST),
    ],
)
def test_a_node_is_counted_on_while_it_is_heard(
    state: NodeState, silence: timedelta, *, is_live: bool, expected: Standing
) -> None:
    heartbeat = Heartbeat("a", 1, 2, 6000, state, "http://a", "a", 1, HERE.inventory)
    assert standing(Heard(heartbeat, silence, is_live)) is expected


def test_a_process_is_starting_until_it_was_ready_once() -> None:
    running = Running(SLOT, 7, 42, "http://x", 1)
    first = describe("a", running, None, is_ready=False, said="loading", now_ms=5)
    ready = describe("a", running, first, is_ready=True, said="ready", now_ms=6)
    later = describe("a", running, ready, is_ready=True, said="ready", now_ms=7)
    lapsed = describe("a", running, later, is_ready=False, said="no broker", now_ms=8)
    assert [found.state for found in (first, ready, later, lapsed)] == [
        ProcessState.STARTING,
        ProcessState.READY,
        ProcessState.READY,
        ProcessState.UNREADY,
    ]
    assert [found.ready_ms for found in (first, ready, later, lapsed)] == [None, 6, 6, 6]
    again = describe("a", replace(running, launch=8), lapsed, is_ready=False, said="", now_ms=9)
    assert (again.state, again.ready_ms) == (ProcessState.STARTING, None)
