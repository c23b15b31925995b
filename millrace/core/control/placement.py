"""Where a process fits: by its kind, cores, memory, GPUs and the versions of its libraries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from millrace.core.control.fleet import Assignment, Inventory, Node, Resources, Standing, Workload

_MIB: Final = 1 << 20
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process goes.

    Attributes:
        node: The node.
        gpus: Indices of the GPUs that become its own.
    """

    node: str
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Why a process goes nowhere, in one line that names every node and what it lacks."""

    why: str


@dataclass(frozen=True, slots=True)
class Load:
    """What a node has given away.

    Attributes:
        used: Sum of what its processes need.
        gpus: Indices of the GPUs that are somebody's.
        kin: How many processes of the workload in question are among them.
    """

    used: Resources
    gpus: frozenset[int]
    kin: int


def load_of(node: str, workload: Workload, occupying: Iterable[Assignment]) -> Load:
    """What a node has given away, from the assignments that occupy something anywhere."""
    here = [assignment for assignment in occupying if assignment.node == node]
    return Load(
        used=Resources(
            cores=sum(assignment.needs.cores for assignment in here),
            memory_bytes=sum(assignment.needs.memory_bytes for assignment in here),
            gpus=sum(len(assignment.gpus) for assignment in here),
        ),
        gpus=frozenset(index for assignment in here for index in assignment.gpus),
        kin=sum(
            (assignment.slot.deployment, assignment.slot.kind) == (workload.deployment, workload.kind)
            for assignment in here
        ),
    )


def place(workload: Workload, nodes: Mapping[str, Node], occupying: Sequence[Assignment]) -> Place | NoPlace:
    """Choose a node for one more process of a workload.

    Among the nodes that fit: the one with the fewest processes of the same workload, then the one with the largest
    share of its cores free, then the first by name. The same inputs give the same answer.

    Args:
        workload: Whose process.
        nodes: All nodes.
        occupying: The assignments that occupy something.
    """
    if not nodes:
        return NoPlace("there is no node: start one with `millrace up` or `millrace join`")
    loads = {name: load_of(name, workload, occupying) for name in nodes}
    lacks = {name: lack(node, workload, loads[name]) for name, node in sorted(nodes.items())}
    fitting = [name for name, missing in lacks.items() if missing is None]
    if not fitting:
        return NoPlace("no node fits: " + "; ".join(f"{name} {missing}" for name, missing in lacks.items()))
    best = min(fitting, key=lambda name: _preference(nodes[name], loads[name]))
    free = (index for index in range(len(nodes[best].inventory.gpus)) if index not in loads[best].gpus)
    return Place(best, tuple(next(free) for _ in range(workload.needs.gpus)))


def lack(node: Node, workload: Workload, load: Load) -> str | None:
    """What a node lacks for one more process of a workload, or None where it fits."""
    if node.standing is not Standing.UP:
        return f"is {node.standing}"
    if workload.kind not in node.inventory.kinds:
        return f"cannot run a {workload.kind}"
    if workload.runner not in {"", node.inventory.runner}:
        return f"has the runner {node.inventory.runner}, needed {workload.runner}"
    return unfitness(workload.libraries, node.inventory) or shortage(workload.needs, node.inventory, load)


def shortage(needs: Resources, has: Inventory, load: Load) -> str | None:
    """What there is too little of, free and needed; None where there is enough."""
    used = load.used
    if used.cores + needs.cores > has.cores + _ROUNDING:
        return f"has {max(has.cores - used.cores, 0):g} of {has.cores:g} cores free, needed {needs.cores:g}"
    if used.memory_bytes + needs.memory_bytes > has.memory_bytes:
        free = max(has.memory_bytes - used.memory_bytes, 0) // _MIB
        return f"has {free} of {has.memory_bytes // _MIB} MiB memory free, needed {needs.memory_bytes // _MIB}"
    if len(load.gpus) + needs.gpus > len(has.gpus):
        return f"has {len(has.gpus) - len(load.gpus)} of {len(has.gpus)} GPUs free, needed {needs.gpus}"
    return None


def unfitness(libraries: Mapping[str, str], has: Inventory) -> str | None:
    """The first library whose version is another one than needed, found and needed; None where all agree."""
    for name, needed in sorted(libraries.items()):
        found = has.libraries.get(name, "none")
        if found != needed:
            return f"is unfit: {name} {found}, needed {needed}"
    return None


def _preference(node: Node, load: Load) -> tuple[int, float, str]:
    return (load.kin, load.used.cores / max(node.inventory.cores, _ROUNDING), node.name)
