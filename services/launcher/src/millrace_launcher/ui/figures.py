"""From the figures of single processes to those of a deployment."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_STALE_MS: Final = 20_000
"""A process that was silent for so long has no figure any more."""

Value = float | None


@dataclass(frozen=True, slots=True)
class Together:
    """The figures of several processes, a value for each moment, oldest first.

    Attributes:
        at_ms: The moments, milliseconds since 1970.
        done_rate: Records a second, of all.
        dead_letter_rate: Records a second that could not be scored, of all.
        lag: Records that wait, of all.
        p50_ms: Median latency of the slowest.
        p99_ms: 99th percentile of the slowest.
        memory_bytes: Memory of all.
        cores: Cores of all.
    """

    at_ms: tuple[int, ...]
    done_rate: tuple[Value, ...]
    dead_letter_rate: tuple[Value, ...]
    lag: tuple[Value, ...]
    p50_ms: tuple[Value, ...]
    p99_ms: tuple[Value, ...]
    memory_bytes: tuple[Value, ...]
    cores: tuple[Value, ...]

    def latest(self, name: str, now_ms: float) -> Value:
        """The newest value of a figure; None where it is too old to tell anything."""
        if not self.at_ms or now_ms - self.at_ms[-1] > _STALE_MS:
            return None
        # The last moment may not have heard every process yet.
        values: Sequence[Value] = getattr(self, name)
        return next((value for value in reversed(values[-2:]) if value is not None), None)


_ADDED: Final = ("done_rate", "dead_letter_rate", "lag", "memory_bytes", "cores")
_WORST: Final = ("p50_ms", "p99_ms")


def together(series: Iterable[Mapping[str, Any]], *, every_ms: int = 5_000) -> Together:
    """Put the series of several processes together: rates, lag and memory are added, of latencies the worst is kept.

    Processes are not asked in the same millisecond; their moments are told apart by intervals of `every_ms`.
    """
    by_moment: dict[int, list[tuple[Mapping[str, Any], int]]] = {}
    for one in series:
        for row, at in enumerate(one.get("at_ms", ())):
            by_moment.setdefault(at // every_ms, []).append((one, row))
    moments = sorted(by_moment)

    def column(name: str, combine: Callable[[list[float]], float]) -> tuple[Value, ...]:
        return tuple(_combined(by_moment[moment], name, combine) for moment in moments)

    return Together(
        at_ms=tuple((moment + 1) * every_ms for moment in moments),
        **{name: column(name, sum) for name in _ADDED},
        **{name: column(name, max) for name in _WORST},
    )


def _combined(
    found: Iterable[tuple[Mapping[str, Any], int]], name: str, combine: Callable[[list[float]], float]
) -> Value:
    known = [one[name][row] for one, row in found if one.get(name) and one[name][row] is not None]
    return combine(known) if known else None
