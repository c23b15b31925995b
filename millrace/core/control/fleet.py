"""What a fleet is made of: nodes, what shall run, what was decided about each slot, and what runs."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self, TypeAlias

from millrace.core.errors import RequestError

_SLOT: Final = re.compile(r"(?P<deployment>[a-z0-9-]+)/(?P<kind>[a-z][a-z0-9-]*)/(?P<number>0|[1-9]\d*)")


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The place of one process of a deployment. A process that comes back comes back to its slot.

    >>> str(Slot("rain", "scorer", 0))
    'rain/scorer/0'

    Attributes:
        deployment: Whose process.
        kind: What the process does: `scorer`, `auditor`.
        number: From 0; below the count that is desired.
    """

    deployment: str
    kind: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            RequestError: It is no slot.
        """
        found = _SLOT.fullmatch(text)
        if found is None:
            raise RequestError(f"{text!r} is no slot", remedy="write DEPLOYMENT/KIND/NUMBER, for example rain/scorer/0")
        return cls(found["deployment"], found["kind"], int(found["number"]))

    def __str__(self) -> str:
        return f"{self.deployment}/{self.kind}/{self.number}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process needs, or a node has left.

    Attributes:
        cores: Processor cores; a share of one is a number below 1.
        memory_bytes: Memory.
        gpus: Whole GPUs.
    """

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a node has.

    Attributes:
        cores: Processor cores that it may use.
        memory_bytes: Memory.
        gpus: The names of its GPUs, in the order of their indices.
        kinds: The kinds of process that it can run.
        libraries: Versions of the libraries on which answers depend, by distribution name.
        environment: Fingerprint of everything that is installed; equal where all versions are equal.
        runner: What runs its processes: `local`, `container`, `kubernetes`, or that of another package.
    """

    cores: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""
    runner: str = "local"


class NodeState(StrEnum):
    """What a node says about itself."""

    UP = "up"
    LEAVING = "leaving"
    """It drains what it runs and takes nothing new."""
    LEFT = "left"
    """It runs nothing any more and stops."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How soon the predictions of one process were readable, since it started.

    Attributes:
        slot: The process's place.
        launch: Which process of the slot.
        counts: Records at most as late as each bound of `millrace.telemetry.scorer.LATENCY_BUCKETS`; all of them last.
    """

    slot: Slot
    launch: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node says every second.

    Attributes:
        node: Its name.
        epoch: When its daemon started, milliseconds since 1970; another daemon of the name has a greater one.
        at_ms: When it said this, by its own clock.
        lease_ms: After a silence of this length the node has stopped everything that it ran.
        state: Whether it takes part.
        url: Where its REST API is.
        host: The machine's name.
        pid: The daemon's process.
        inventory: What it has.
        decides: Whether it is the controller, as far as it knows.
        latencies: Of its scorers whose number follows the load.
    """

    node: str
    epoch: int
    at_ms: int
    lease_ms: int
    state: NodeState
    url: str
    host: str
    pid: int
    inventory: Inventory
    decides: bool = False
    latencies: tuple[Latencies, ...] = ()


class Standing(StrEnum):
    """Whether a node may be counted on."""

    UP = "up"
    SILENT = "silent"
    """It was not heard for a moment, or not yet: it takes nothing new."""
    LEAVING = "leaving"
    """It drains what it runs and takes nothing new."""
    LOST = "lost"
    """It was silent for longer than its lease, or said that it left: nothing runs there any more."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine, or a part of one, as the controller sees it now."""

    name: str
    standing: Standing
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Workload:
    """What a deployment wants of one kind of process.

    Attributes:
        deployment: Its name.
        kind: The kind of process.
        count: How many of them.
        needs: What one of them needs.
        libraries: Library versions that a node must have.
        digest: Fingerprint of everything that a process reads when it starts: another one means a restart.
        ends: Whether a process ends by itself when its work is done; then it is not started again.
        runner: What a node must run it by; empty for any.
    """

    deployment: str
    kind: str
    count: int
    needs: Resources
    digest: str
    libraries: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False
    runner: str = ""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """One for each process."""
        return tuple(Slot(self.deployment, self.kind, number) for number in range(self.count))


class Order(StrEnum):
    """What was decided about a slot."""

    RUN = "run"
    """The node shall run this launch, and none before it."""
    STOP = "stop"
    """The node shall drain this launch."""
    WAIT = "wait"
    """Nothing shall run yet: no node fits, or the last process crashed a moment ago."""
    FAILED = "failed"
    """Nothing shall run until the deployment changes: it crashed again and again, or was a job and failed."""
    DONE = "done"
    """Nothing shall run any more: it was a job, and has done its work."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The controller's latest decision about a slot.

    Attributes:
        slot: The slot.
        order: What shall be.
        launch: Names the process of the slot that the order concerns. Each is greater than all before it, also those
            of a deployment of this name that was deleted: the time of the decision, milliseconds since 1970.
        node: Where it runs or ran last; None before the first launch.
        digest: Of the workload as this launch was made from it.
        needs: What is set aside for it on the node.
        gpus: Indices of the node's GPUs that are its own.
        crashes: Ends that nobody asked for, since one of its processes was ready for a while.
        not_before_ms: No earlier start than this, milliseconds since 1970.
        decided_ms: When this was decided.
        why: The reason, in one line for a person.
    """

    slot: Slot
    order: Order
    launch: int = 0
    node: str | None = None
    digest: str = ""
    needs: Resources = Resources()
    gpus: tuple[int, ...] = ()
    crashes: int = 0
    not_before_ms: int = 0
    decided_ms: int = 0
    why: str = ""

    @property
    def occupies(self) -> bool:
        """Whether a process of it may be there, as far as it was decided."""
        return self.order in {Order.RUN, Order.STOP}


class ProcessState(StrEnum):
    """What a process does."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    """It was ready and says now that it does not do its work."""
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Process:
    """What a node says about the latest process of a slot on it.

    Attributes:
        slot: The slot.
        node: Who says so.
        launch: Which process of the slot.
        state: What it does.
        pid: Its number in the node's process table.
        url: Where its health and metrics are; empty where it has none.
        started_ms: When it was started, milliseconds since 1970.
        ready_ms: When it was ready first; None if it never was.
        ended_ms: When it ended.
        exit_code: How it ended; negative for the signal that ended it. None where nobody saw it.
        asked: Whether it ended because the node stopped it.
        why: What it says about its readiness, or what its end came from, in one line.
    """

    slot: Slot
    node: str
    launch: int
    state: ProcessState
    pid: int | None = None
    url: str = ""
    started_ms: int = 0
    ready_ms: int | None = None
    ended_ms: int | None = None
    exit_code: int | None = None
    asked: bool = False
    why: str = ""

    @property
    def key(self) -> tuple[Slot, str]:
        """Slot and node: a slot may leave an ended process on one node and run on another."""
        return self.slot, self.node


Processes: TypeAlias = Mapping[tuple[Slot, str], Process]
"""What the nodes say, by slot and node."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that a decision rests on.

    Attributes:
        workloads: What is desired.
        assignments: What was decided so far, by slot.
        processes: What there is.
        nodes: The nodes, by name.
        unreadable: Deployments whose document cannot be read: nothing of theirs is touched.
    """

    workloads: tuple[Workload, ...] = ()
    assignments: Mapping[Slot, Assignment] = field(default_factory=dict)
    processes: Processes = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    unreadable: Set[str] = frozenset()

    def process(self, assignment: Assignment) -> Process | None:
        """The process that the assignment is about, if its node has said anything about it."""
        if assignment.node is None:
            return None
        found = self.processes.get((assignment.slot, assignment.node))
        return found if found is not None and found.launch == assignment.launch else None

    def is_lost(self, node: str | None) -> bool:
        """Whether nothing runs on a node any more."""
        return node is None or node not in self.nodes or self.nodes[node].standing is Standing.LOST

    def is_over(self, assignment: Assignment) -> bool:
        """Whether no process of the assignment's launch is there or will be."""
        if not assignment.occupies or self.is_lost(assignment.node):
            return True
        found = self.process(assignment)
        return found is not None and found.state is ProcessState.ENDED
