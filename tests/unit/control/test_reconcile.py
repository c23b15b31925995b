from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

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
    Slot,
    Standing,
    Workload,
)
from millrace.core.control.reconcile import reconcile
from millrace.core.control.restarts import RestartPolicy
from millrace.core.errors import RequestError

NOW = 1_000_000
POLICY = RestartPolicy(tries=3, stable=timedelta(seconds=10))
GIB = 1 << 30
RAIN = Workload("rain", "scorer", 1, Resources(1.0, GIB), "d1")
SLOT = Slot("rain", "scorer", 0)


def node(name: str, standing: Standing = Standing.UP, *, cores: float = 4) -> Node:
    return Node(name, standing, Inventory(cores, 16 * GIB, kinds=("scorer", "auditor")))


def running(slot: Slot = SLOT, *, on: str = "a", launch: int = 7, digest: str = "d1") -> Assignment:
    return Assignment(slot, Order.RUN, launch, on, digest, RAIN.needs)


def process(assignment: Assignment, state: ProcessState, **changes: Any) -> Process:  # noqa: ANN401 -- any field
    made = Process(assignment.slot, assignment.node or "", assignment.launch, state, started_ms=1)
    return replace(made, **changes)


def fleet(
    workloads: Sequence[Workload] = (RAIN,),
    assignments: Sequence[Assignment] = (),
    processes: Sequence[Process] = (),
    nodes: Sequence[Node] = (node("a"), node("b")),
) -> Fleet:
    return Fleet(
        tuple(workloads),
        {assignment.slot: assignment for assignment in assignments},
        {found.key: found for found in processes},
        {found.name: found for found in nodes},
    )


def decided(given: Fleet, slot: Slot = SLOT, *, now_ms: int = NOW) -> Assignment:
    found = reconcile(given, now_ms, POLICY)[slot]
    assert found is not None
    return found


def test_what_is_desired_runs_where_it_fits() -> None:
    made = decided(fleet())
    assert (made.order, made.node, made.launch, made.digest, made.needs) == (Order.RUN, "a", NOW, "d1", RAIN.needs)


def test_the_processes_of_a_workload_spread() -> None:
    made = reconcile(fleet([replace(RAIN, count=4)]), NOW, POLICY)
    assert sorted(found.node or "" for found in made.values() if found) == ["a", "a", "b", "b"]


def test_nothing_is_decided_twice() -> None:
    assignment = running()
    for state in (ProcessState.STARTING, ProcessState.READY, ProcessState.UNREADY):
        assert not reconcile(fleet(assignments=[assignment], processes=[process(assignment, state)]), NOW, POLICY)
    assert not reconcile(fleet(assignments=[assignment]), NOW, POLICY), "its node has not said anything yet"


def test_what_no_node_fits_waits_and_says_what_each_lacks() -> None:
    small = node("a", cores=0.5)
    made = decided(fleet(nodes=[small, node("b", Standing.LEAVING), node("c", Standing.LOST)]))
    assert made.order is Order.WAIT
    assert made.why == "no node fits: a has 0.5 of 0.5 cores free, needed 1; b is leaving; c is lost"
    assert not reconcile(
        fleet(assignments=[made], nodes=[small, node("b", Standing.LEAVING), node("c", Standing.LOST)]), NOW + 9, POLICY
    )
    assert decided(fleet(assignments=[made], nodes=[node("a")])).order is Order.RUN


def test_without_a_node_the_remedy_is_said() -> None:
    assert "millrace up" in decided(fleet(nodes=[])).why


def test_a_first_crash_is_answered_at_once() -> None:
    assignment = running()
    ended = process(assignment, ProcessState.ENDED, exit_code=-9, ended_ms=NOW, why="killed by signal 9")
    made = decided(fleet(assignments=[assignment], processes=[ended]))
    assert (made.order, made.crashes) == (Order.RUN, 1)
    assert made.launch > assignment.launch
    assert made.why == "crashed: killed by signal 9"


def test_crashes_back_off_and_fail_with_the_reason() -> None:
    assignment, now, waits = running(), NOW, []
    ended = process(assignment, ProcessState.ENDED, exit_code=1, why="no such column")
    for _ in range(20):
        ended = replace(ended, launch=assignment.launch, ended_ms=now, node=assignment.node or "")
        made = decided(fleet(assignments=[assignment], processes=[ended]), now_ms=now)
        if made.order is Order.WAIT:
            waits.append(made.not_before_ms - now)
            assert not reconcile(fleet(assignments=[made], processes=[ended]), made.not_before_ms - 1, POLICY)
            now = made.not_before_ms
            made = decided(fleet(assignments=[made], processes=[ended]), now_ms=now)
        assignment, now = made, now + 10
        if made.order is Order.FAILED:
            break
    assert waits == [1000, 2000]
    assert assignment.order is Order.FAILED
    assert assignment.why == "crashed 4 times in a row: no such column"
    assert not reconcile(fleet(assignments=[assignment], processes=[ended]), now + 10**9, POLICY)


def test_a_failed_slot_starts_again_when_the_deployment_changes() -> None:
    failed = Assignment(SLOT, Order.FAILED, 7, "a", "d1", crashes=4)
    made = decided(fleet([replace(RAIN, digest="d2")], [failed]))
    assert (made.order, made.crashes, made.digest) == (Order.RUN, 0, "d2")


def test_a_process_that_worked_for_a_while_starts_counting_anew() -> None:
    assignment = replace(running(), crashes=3)
    ended = process(assignment, ProcessState.ENDED, exit_code=-9, ready_ms=NOW - 10_000, ended_ms=NOW)
    assert decided(fleet(assignments=[assignment], processes=[ended])).crashes == 1
    early = replace(ended, ready_ms=NOW - 9_999)
    assert decided(fleet(assignments=[assignment], processes=[early])).order is Order.FAILED


def test_a_lost_nodes_process_runs_elsewhere_and_no_crash_is_counted() -> None:
    assignment = running()
    given = fleet(
        assignments=[assignment],
        processes=[process(assignment, ProcessState.READY)],
        nodes=[node("a", Standing.LOST), node("b")],
    )
    made = decided(given)
    assert (made.order, made.node, made.crashes, made.why) == (Order.RUN, "b", 0, "node a was lost")


def test_a_leaving_node_is_waited_for() -> None:
    assignment, nodes = running(), [node("a", Standing.LEAVING), node("b")]
    draining = process(assignment, ProcessState.DRAINING)
    assert not reconcile(fleet(assignments=[assignment], processes=[draining], nodes=nodes), NOW, POLICY)
    ended = replace(draining, state=ProcessState.ENDED, asked=True)
    made = decided(fleet(assignments=[assignment], processes=[ended], nodes=nodes))
    assert (made.node, made.crashes) == ("b", 0)


def test_what_is_desired_no_more_is_stopped_and_then_forgotten() -> None:
    assignment = running()
    up = process(assignment, ProcessState.READY)
    stopping = decided(fleet([], [assignment], [up]))
    assert stopping.order is Order.STOP
    assert not reconcile(fleet([], [stopping], [replace(up, state=ProcessState.DRAINING)]), NOW, POLICY)
    ended = replace(up, state=ProcessState.ENDED, asked=True)
    assert reconcile(fleet([], [stopping], [ended]), NOW, POLICY) == {SLOT: None}


def test_scaling_down_takes_the_highest_numbers() -> None:
    slots = replace(RAIN, count=3).slots
    assignments = [running(slot) for slot in slots]
    processes = [process(found, ProcessState.READY) for found in assignments]
    assert list(reconcile(fleet([RAIN], assignments, processes), NOW, POLICY)) == list(slots[1:])


def test_the_processes_of_a_deployment_that_cannot_be_read_are_left_alone() -> None:
    assignment = running()
    given = replace(fleet([], [assignment]), unreadable=frozenset({"rain"}))
    assert not reconcile(given, NOW, POLICY)


def test_a_change_takes_one_process_after_the_other() -> None:
    wanted = replace(RAIN, count=2, digest="d2")
    old = [running(slot) for slot in wanted.slots]
    ready = [process(found, ProcessState.READY) for found in old]
    first = reconcile(fleet([wanted], old, ready), NOW, POLICY)
    assert [(slot.number, found.order) for slot, found in first.items() if found] == [(0, Order.STOP)]
    new = running(wanted.slots[0], digest="d2", launch=9)
    starting = process(new, ProcessState.STARTING)
    assert not reconcile(fleet([wanted], [new, old[1]], [starting, ready[1]]), NOW, POLICY)
    up = replace(starting, state=ProcessState.READY)
    second = reconcile(fleet([wanted], [new, old[1]], [up, ready[1]]), NOW, POLICY)
    assert [(slot.number, found.order) for slot, found in second.items() if found] == [(1, Order.STOP)]


def test_a_change_that_does_not_work_ends_with_the_first() -> None:
    wanted = replace(RAIN, count=2, digest="d2")
    failed = Assignment(wanted.slots[0], Order.FAILED, 9, "a", "d2", crashes=4)
    old = running(wanted.slots[1])
    assert not reconcile(fleet([wanted], [failed, old], [process(old, ProcessState.READY)]), NOW, POLICY)


def test_gpus_are_given_out_by_index() -> None:
    many = replace(RAIN, count=3, needs=Resources(0.1, GIB, 1))
    here = Node("a", Standing.UP, Inventory(4, 16 * GIB, ("H", "H"), ("scorer",)))
    made = [found for found in reconcile(fleet([many], nodes=[here]), NOW, POLICY).values() if found]
    assert [found.gpus for found in made] == [(0,), (1,), ()]
    assert made[2].why == "no node fits: a has 0 of 2 GPUs free, needed 1"


def test_a_node_with_another_library_is_unfit_and_says_which() -> None:
    wanted = replace(RAIN, libraries={"onnxruntime": "1.32.0"})
    old = Node("a", Standing.UP, Inventory(4, GIB, (), ("scorer",), {"onnxruntime": "1.31.0"}))
    new = Node("b", Standing.UP, Inventory(4, GIB, (), ("scorer",), {"onnxruntime": "1.32.0"}))
    assert decided(fleet([wanted], nodes=[old, new])).node == "b"
    assert "a is unfit: onnxruntime 1.31.0, needed 1.32.0" in decided(fleet([wanted], nodes=[old])).why


def test_a_deployment_that_names_a_runner_runs_where_that_is() -> None:
    wanted = replace(RAIN, runner="container")
    local = node("a")
    contained = replace(node("b"), inventory=replace(node("b").inventory, runner="container"))
    assert decided(fleet([wanted], nodes=[local, contained])).node == "b"
    assert "a has the runner local, needed container" in decided(fleet([wanted], nodes=[local])).why
    assert decided(fleet([RAIN], nodes=[contained])).node == "b", "any will do where none is named"


@pytest.mark.parametrize(("kind", "said"), [("notebook", "a cannot run a notebook"), ("scorer", "MiB memory free")])
def test_a_node_lacks_kinds_and_memory(kind: str, said: str) -> None:
    wanted = Workload("rain", kind, 1, Resources(1, 99 * GIB), "d")
    assert said in decided(fleet([wanted], nodes=[node("a")]), wanted.slots[0]).why


def test_a_launch_is_named_later_than_any_before_it() -> None:
    gone = Assignment(SLOT, Order.WAIT, launch=NOW + 5)
    assert decided(fleet(assignments=[gone])).launch == NOW + 6, "also where the clock went back"


@pytest.mark.parametrize("text", ["rain", "rain/scorer", "rain/scorer/-1", "rain/scorer/01", "Rain/scorer/0", ""])
def test_what_is_no_slot_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no slot"):
        Slot.parse(text)


def test_a_slot_is_read_back() -> None:
    assert Slot.parse(str(SLOT)) == SLOT
