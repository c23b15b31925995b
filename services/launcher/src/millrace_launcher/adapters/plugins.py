"""The kinds of process that this node knows and what runs them, those of other packages included."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final, TypeAlias

from millrace.core.errors import RequestError
from millrace_launcher.adapters.local import LocalRunner
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.logic.kinds import BUILT_IN, Kind
from millrace_launcher.logic.ports import Runner

GROUP: Final = "millrace.kinds"
RUNNERS: Final = "millrace.runners"
LOCAL: Final = "local"

MakeRunner: TypeAlias = Callable[[NodeFolder], Runner]
"""Makes a runner of the processes of a node, which knows by the node's lease until when they may run."""


def load_kinds() -> Mapping[str, Kind]:
    """All kinds by name: the built-in ones, and those that installed packages add.

    Raises:
        RequestError: A package adds something that is no kind, or a name that is taken.
    """
    kinds = {kind.name: kind for kind in BUILT_IN}
    for found in entry_points(group=GROUP):
        kind = found.load()
        if not isinstance(kind, Kind) or kind.name in kinds:
            raise RequestError(
                f"the entry point {found.name!r} of {GROUP} adds no new kind: {found.value}",
                remedy="it must lead to a millrace_launcher.logic.kinds.Kind of a name that is free",
            )
        kinds[kind.name] = kind
    return kinds


def installed(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """The names of the kinds that this node can run: their modules are there."""
    return tuple(sorted(name for name, kind in kinds.items() if not kind.module or find_spec(kind.module)))


def load_runner(name: str) -> MakeRunner:
    """What makes the runner of this name: `local`, or one that a package adds by an entry point of `millrace.runners`.

    Raises:
        RequestError: There is none of the name.
    """
    if name == LOCAL:
        return _local
    found = {each.name: each for each in entry_points(group=RUNNERS)}
    if name not in found:
        raise RequestError(
            f"there is no runner {name!r}", remedy=f"known runners: {', '.join(sorted({LOCAL, *found}))}"
        )
    make: MakeRunner = found[name].load()
    return make


def _local(folder: NodeFolder) -> Runner:
    return LocalRunner(folder.processes, folder.lease)
