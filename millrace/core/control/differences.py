"""What two documents say differently, in lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], *, absent: str = "default", path: str = ""
) -> Iterator[str]:
    """What two documents say differently, a line each, in the order of the names.

    Args:
        before: The one.
        after: The other.
        absent: The word for what only one of them says.
        path: What names begin with.

    >>> list(differences({"model": "rain/1", "slo": {"latency_ms": 9}}, {"model": "rain/2", "scale": {"scorers": 3}}))
    ['model: rain/1 -> rain/2', 'scale.scorers: default -> 3', 'slo.latency_ms: 9 -> default']
    """
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        here = f"{path}{name}"
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            yield from differences(_inside(old), _inside(new), absent=absent, path=f"{here}.")
        elif old != new:
            yield f"{here}: {absent if old is None else old} -> {absent if new is None else new}"


def _inside(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
