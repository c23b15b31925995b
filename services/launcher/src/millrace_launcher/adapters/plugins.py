"""The kinds of process that this node knows, those of other packages included."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

from millrace.core.errors import RequestError
from millrace_launcher.logic.kinds import BUILT_IN, Kind

GROUP: Final = "millrace.kinds"


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
