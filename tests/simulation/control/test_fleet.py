"""The real decisions on a fleet that fails: nodes die and freeze, are not heard, processes crash, controllers pause.

What must hold at every moment: a slot has at most one process, whatever the controller believes. What must hold in the
end: what is desired runs, on nodes that live, and what cannot run has failed with its reason.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

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
from millrace.core.control.reconcile import Decisions, reconcile
from millrace.core.control.restarts import RestartPolicy
from millrace.core.control.tending import Decline, Drain, Forget, Start, tend

TICK_MS: Final = 500
LEASE_MS: Final = 6_000
LOST_MS: Final = 9_000
FAULTY_TICKS: Final = 240
QUIET_TICKS: Final = 200
POLICY: Final = RestartPolicy()
BROKEN: Final = "broken"
"""The deployment whose processes never become ready."""


@dataclass
class Machine:
    """A node: what it runs, and until when it does not answer."""

    name: str
    dead_until: int = 0
    frozen_until: int = 0
    unheard_until: int = 0
    renewed: int = 0
    here: dict[Slot, Process] = field(default_factory=dict)

    def live(self) -> list[Process]:
        return [process for process in self.here.values() if process.state is not ProcessState.ENDED]


@dataclass
class World:
    """A log, machines, and two controllers of which one holds the election's partition."""

    random: random.Random
    now: int = LOST_MS + 1
    desired: dict[str, int] = field(default_factory=lambda: {"rain": 3, BROKEN: 1})
    version: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)
    assignments: dict[Slot, Assignment] = field(default_factory=dict)
    reported: dict[tuple[Slot, str], Process] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    term: int = 0
    late: list[tuple[int, int, Decisions]] = field(default_factory=list)
    """Decisions of paused controllers: when they wake, the term in which they decided, and what."""
    launches: dict[Slot, int] = field(default_factory=dict)

    def workloads(self) -> tuple[Workload, ...]:
        needs = Resources(1.0, 1)
        return tuple(Workload(name, "scorer", count, needs, f"v{self.version}") for name, count in self.desired.items())

    def fleet(self, *, behind: Mapping[tuple[Slot, str], Process] | None = None) -> Fleet:
        nodes = {
            name: Node(
                name,
                Standing.LOST if self.now - self.heard[name] > LOST_MS else Standing.UP,
                Inventory(3, 100, kinds=("scorer",)),
            )
            for name in self.heard
        }
        reported = self.reported if behind is None else behind
        return Fleet(self.workloads(), dict(self.assignments), dict(reported), nodes)

    def write(self, decisions: Decisions, *, term: int) -> None:
        """Refused unless it comes from whoever holds the partition, as the broker refuses it."""
        if term != self.term:
            return
        for slot, assignment in decisions.items():
            if assignment is None:
                del self.assignments[slot]
            else:
                self.launches[slot] = self.launches.get(slot, 0) + (assignment.order is Order.RUN)
                self.assignments[slot] = assignment

    def control(self, behind: Mapping[tuple[Slot, str], Process]) -> None:
        due = [late for late in self.late if late[0] <= self.now]
        self.late = [late for late in self.late if late[0] > self.now]
        for _, term, decisions in due:
            self.write(decisions, term=term)
        decisions = reconcile(self.fleet(behind=behind), self.now, POLICY)
        self.write(decisions, term=self.term)

    def pause_controller(self) -> None:
        """It has decided and not yet written; meanwhile another one is elected."""
        decided = reconcile(self.fleet(), self.now, POLICY)
        self.late.append((self.now + self.random.randrange(1_000, 20_000), self.term, decided))
        self.term += 1

    def turn(self, machine: Machine) -> None:
        if machine.dead_until > self.now:
            machine.here = {}
            return
        self.keep(machine)
        if machine.frozen_until > self.now:
            return
        if machine.unheard_until <= self.now:
            machine.renewed = self.heard[machine.name] = self.now
            self.report(machine)
        for step in list(tend(machine.name, self.assignments, machine.here)):
            match step:
                case Start(assignment):
                    machine.here[assignment.slot] = Process(
                        assignment.slot, machine.name, assignment.launch, ProcessState.STARTING, started_ms=self.now
                    )
                case Decline(assignment):
                    machine.here[assignment.slot] = Process(
                        assignment.slot, machine.name, assignment.launch, ProcessState.ENDED, asked=True
                    )
                case Drain(slot):
                    machine.here[slot] = replace(machine.here[slot], state=ProcessState.DRAINING)
                case Forget(slot):
                    del machine.here[slot]

    def keep(self, machine: Machine) -> None:
        """What happens to processes whatever their daemon does: they move on, and end with the lease."""
        for slot, process in machine.here.items():
            if process.state is ProcessState.ENDED:
                continue
            if self.now - machine.renewed > LEASE_MS:
                machine.here[slot] = self.ended(process, asked=True)
            elif process.state is ProcessState.DRAINING:
                if self.random.random() < 0.5:
                    machine.here[slot] = self.ended(process, asked=True)
            elif slot.deployment == BROKEN:
                machine.here[slot] = self.ended(process, asked=False)
            elif process.state is ProcessState.STARTING and self.random.random() < 0.4:
                machine.here[slot] = replace(process, state=ProcessState.READY, ready_ms=self.now)

    def ended(self, process: Process, *, asked: bool) -> Process:
        return replace(process, state=ProcessState.ENDED, asked=asked, ended_ms=self.now, why="no model")

    def report(self, machine: Machine) -> None:
        for key in [key for key in self.reported if key[1] == machine.name and key[0] not in machine.here]:
            # A machine that came back from the dead says that what it had is over.
            lost = self.reported[key]
            is_known = lost.state is ProcessState.ENDED
            assignment = self.assignments.get(key[0])
            if is_known and (assignment is None or assignment.node != machine.name):
                del self.reported[key]
            elif not is_known:
                machine.here[key[0]] = self.ended(lost, asked=True)
        self.reported.update((process.key, process) for process in machine.here.values())

    def strike(self) -> None:
        """Perhaps a fault."""
        machine = self.random.choice(list(self.machines.values()))
        until = self.now + self.random.randrange(1_000, 25_000)
        match self.random.randrange(40):
            case 0:
                machine.dead_until = until
            case 1:
                machine.frozen_until = until
            case 2 | 3:
                machine.unheard_until = until
            case 4:
                self.pause_controller()
            case 5:
                self.desired["rain"] = self.random.randrange(6)
            case 6:
                self.version += 1
            case 7 | 8 | 9:
                for process in machine.live():
                    machine.here[process.slot] = replace(self.ended(process, asked=False), why="killed by signal 9")
            case _:
                pass

    def check(self) -> None:
        live = [process.slot for machine in self.machines.values() for process in machine.live()]
        assert len(live) == len(set(live)), f"two processes of one slot at {self.now}: {sorted(map(str, live))}"

    def settle(self) -> None:
        """No faults from here on; kills of the past are forgotten as a person would: by another version."""
        for machine in self.machines.values():
            machine.dead_until = machine.frozen_until = machine.unheard_until = 0
        self.version += 1
        self.launches.clear()


def simulate(seed: int) -> World:
    world = World(random.Random(seed))
    for name in ("a", "b", "c"):
        world.machines[name] = Machine(name, renewed=world.now)
        world.heard[name] = world.now
    behind: list[dict[tuple[Slot, str], Process]] = []
    for tick in range(FAULTY_TICKS + QUIET_TICKS):
        if tick < FAULTY_TICKS:
            world.strike()
        elif tick == FAULTY_TICKS:
            world.settle()
        for machine in world.machines.values():
            world.turn(machine)
        behind = [*behind[-4:], dict(world.reported)]
        lag = world.random.randrange(len(behind)) if tick < FAULTY_TICKS else len(behind) - 1
        world.control(behind[lag])
        world.check()
        world.now += TICK_MS
    return world


def check_end(world: World) -> None:
    ready = {p.slot for m in world.machines.values() for p in m.live() if p.state is ProcessState.READY}
    assert ready == {Slot("rain", "scorer", number) for number in range(world.desired["rain"])}
    broken = world.assignments[Slot(BROKEN, "scorer", 0)]
    assert (broken.order, "no model" in broken.why) == (Order.FAILED, True)
    assert world.launches[broken.slot] == POLICY.tries + 1
    assert all(a.digest == f"v{world.version}" for a in world.assignments.values())


def test_one_process_a_slot_through_every_fault_and_all_of_them_in_the_end(seeds: range) -> None:
    for seed in seeds:
        try:
            check_end(simulate(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_check_finds_a_second_process() -> None:
    world = World(random.Random(0))
    for name in ("a", "b"):
        twice = Process(Slot("rain", "scorer", 0), name, 1, ProcessState.READY)
        world.machines[name] = Machine(name, here={twice.slot: twice})
    with pytest.raises(AssertionError, match="two processes of one slot"):
        world.check()
