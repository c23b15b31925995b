"""What holds of every decision, whatever the fleet."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

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
from millrace.core.control.reconcile import Decisions, reconcile
from millrace.core.control.restarts import RestartPolicy

NAMES = ("a", "b", "c")
NOW = 10_000

needs = st.builds(Resources, st.sampled_from([0.1, 0.5, 1.0, 2.0]), st.integers(0, 8), st.integers(0, 1))
workloads = st.builds(
    Workload, st.sampled_from(["rain", "snow"]), st.just("scorer"), st.integers(0, 4), needs, st.sampled_from("xy")
)
inventories = st.builds(
    Inventory, st.sampled_from([0.5, 1.0, 4.0]), st.integers(0, 16), st.sampled_from([(), ("H",)]), st.just(("scorer",))
)
slots = st.builds(Slot, st.sampled_from(["rain", "snow", "hail"]), st.just("scorer"), st.integers(0, 5))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    desired = {found.deployment: found for found in draw(st.lists(workloads, max_size=3))}
    nodes = {name: Node(name, draw(st.sampled_from(Standing)), draw(inventories)) for name in NAMES}
    assignments: dict[Slot, Assignment] = {}
    processes: dict[tuple[Slot, str], Process] = {}
    for slot in draw(st.sets(slots, max_size=6)):
        launch, node = draw(st.integers(1, 3)), draw(st.sampled_from(NAMES))
        order = draw(st.sampled_from(Order))
        assignments[slot] = Assignment(
            slot, order, launch, node, draw(st.sampled_from("xy")), crashes=draw(st.integers(0, 6)), why="said before"
        )
        if draw(st.booleans()):
            state = draw(st.sampled_from(ProcessState))
            made = Process(slot, node, draw(st.integers(1, 3)), state, ended_ms=NOW, asked=draw(st.booleans()))
            processes[made.key] = made
    return Fleet(tuple(desired.values()), assignments, processes, nodes)


def after(fleet: Fleet, decisions: Decisions) -> Fleet:
    """The fleet as it is once the decisions are written, before any node acts on them."""
    kept = {slot: found for slot, found in {**fleet.assignments, **decisions}.items() if found is not None}
    return replace(fleet, assignments=kept)


@given(fleets())
def test_a_decision_is_made_once(fleet: Fleet) -> None:
    decided = after(fleet, reconcile(fleet, NOW, RestartPolicy()))
    again = reconcile(decided, NOW, RestartPolicy())
    for slot, made in again.items():
        # What the nodes lack is said as later slots of the same turn leave it: in other words, and no other decision.
        assert made is not None
        assert made.order is Order.WAIT
        assert replace(made, why="") == replace(decided.assignments[slot], why="")
    assert not reconcile(after(decided, again), NOW, RestartPolicy())


@given(fleets())
def test_no_node_is_given_more_than_it_has(fleet: Fleet) -> None:
    decisions = reconcile(fleet, NOW, RestartPolicy())
    decided = after(fleet, decisions)
    newly = {found.node for found in decisions.values() if found is not None and found.order is Order.RUN}
    for name in filter(None, newly):
        here = [a for a in decided.assignments.values() if a.node == name and a.occupies and not decided.is_over(a)]
        has = fleet.nodes[name].inventory
        assert sum(a.needs.cores for a in here) <= has.cores + 1e-9
        assert sum(a.needs.memory_bytes for a in here) <= has.memory_bytes
        assert all(count == 1 for count in Counter(index for a in here for index in a.gpus).values())


@given(fleets())
def test_a_launch_is_replaced_only_when_it_is_over(fleet: Fleet) -> None:
    for slot, made in reconcile(fleet, NOW, RestartPolicy()).items():
        before = fleet.assignments.get(slot)
        if before is not None and not fleet.is_over(before):
            assert made is not None
            assert (made.order, made.launch, made.node) == (Order.STOP, before.launch, before.node)


@given(fleets())
def test_whatever_does_not_run_says_why(fleet: Fleet) -> None:
    for made in reconcile(fleet, NOW, RestartPolicy()).values():
        if made is not None:
            assert made.why
            assert made.node in fleet.nodes or made.order is not Order.RUN


@given(fleets())
def test_never_more_than_desired_are_to_run(fleet: Fleet) -> None:
    decided = after(fleet, reconcile(fleet, NOW, RestartPolicy()))
    for workload in fleet.workloads:
        to_run = [
            slot
            for slot, found in decided.assignments.items()
            if slot.deployment == workload.deployment and found.order is Order.RUN
        ]
        assert len(to_run) <= workload.count
