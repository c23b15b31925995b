"""How processes fared over the last hour: figures taken from what they say on `/metrics`, every few seconds."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from millrace.telemetry import auditor, gateway, materializer, scorer, trainer
from millrace.telemetry.metrics import MetricSpec

EVERY: Final = timedelta(seconds=5)
KEPT: Final = 720
"""Points of a process: an hour."""

_ANSWERED: Final = next(spec for spec in gateway.GATEWAY if spec.name == "millrace_gateway_answered_requests_total")
_DONE: Final = (
    scorer.RECORDS_PREDICTED,
    auditor.RECORDS_JOINED,
    materializer.RECORDS_WRITTEN,
    _ANSWERED,
)
_LAG: Final = (scorer.CONSUMER_LAG, auditor.LAG, materializer.CONSUMER_LAG)
_BUCKET: Final = f"{scorer.END_TO_END_LATENCY.name}_bucket"


def _names(specs: Iterable[MetricSpec]) -> frozenset[str]:
    return frozenset(spec.name for spec in specs)


_DONE_NAMES: Final = _names(_DONE)
_LAG_NAMES: Final = _names(_LAG)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process said at a moment; counts are since it started.

    Attributes:
        launch: Which process of its slot: counts of another one begin anew.
        at_ms: When, milliseconds since 1970.
        done: Records, or requests, that it has done.
        dead_letters: Records that it could not score.
        lag: Records that wait for it; None where it has no input.
        latency: Records by upper bound of their latency in seconds, cumulative; empty where it does not measure it.
        memory_bytes: Memory that it holds.
        cpu_secs: Processor time that it has used.
        at_work: Whether it works on a request; None where it answers none.
    """

    launch: int
    at_ms: int
    done: float = 0.0
    dead_letters: float = 0.0
    lag: float | None = None
    latency: Mapping[float, float] = field(default_factory=dict)
    memory_bytes: float | None = None
    cpu_secs: float | None = None
    at_work: bool | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """How a process fared between two readings.

    Attributes:
        at_ms: The end of the time it is about, milliseconds since 1970.
        done_rate: Records, or requests, a second.
        dead_letter_rate: Records a second that it could not score.
        lag: Records that waited at the end; None where it has no input.
        p50_ms: Median latency, from a record's timestamp to its prediction being readable; None without records.
        p99_ms: 99th percentile of the same.
        memory_bytes: Memory at the end.
        cores: Processor seconds a second.
        at_work: 1 while it works on a request, 0 while it waits for one; None where it answers none.
    """

    at_ms: int
    done_rate: float
    dead_letter_rate: float
    lag: float | None
    p50_ms: float | None
    p99_ms: float | None
    memory_bytes: float | None
    cores: float | None
    at_work: int | None


class Series:
    """The points of one process slot, the oldest forgotten first. Not thread-safe."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=KEPT)
        self._last: Reading | None = None

    def take(self, reading: Reading) -> None:
        """Add what follows from a reading; the first one of a process only begins a count."""
        before, self._last = self._last, reading
        if before is not None and before.launch == reading.launch and reading.at_ms > before.at_ms:
            self._points.append(between(before, reading))

    def columns(self) -> dict[str, list[Any]]:
        """The points as lists of equal length, oldest first."""
        return {part.name: [getattr(point, part.name) for point in self._points] for part in fields(Point)}


def between(before: Reading, after: Reading) -> Point:
    """How a process fared from one reading to a later one of the same process."""
    secs = (after.at_ms - before.at_ms) / 1000
    cpu = None if before.cpu_secs is None or after.cpu_secs is None else (after.cpu_secs - before.cpu_secs) / secs
    observed = {bound: count - before.latency.get(bound, 0.0) for bound, count in after.latency.items()}
    return Point(
        at_ms=after.at_ms,
        done_rate=max(after.done - before.done, 0.0) / secs,
        dead_letter_rate=max(after.dead_letters - before.dead_letters, 0.0) / secs,
        lag=after.lag,
        p50_ms=_milliseconds(quantile(observed, 0.5)),
        p99_ms=_milliseconds(quantile(observed, 0.99)),
        memory_bytes=after.memory_bytes,
        cores=cpu,
        at_work=None if after.at_work is None else int(after.at_work),
    )


def quantile(cumulative: Mapping[float, float], share: float) -> float | None:
    """The quantile of a histogram, linear inside a bucket; None where it is empty.

    What lies beyond the last finite bound counts as that bound, as Prometheus has it.

    >>> quantile({0.1: 0, 0.2: 100, float("inf"): 100}, 0.5)
    0.15000000000000002
    """
    bounds = sorted(cumulative)
    if not bounds or cumulative[bounds[-1]] <= 0:
        return None
    wanted = share * cumulative[bounds[-1]]
    for low, high in pairwise([0.0, *bounds]):
        held = cumulative[high]
        if held >= wanted and held > 0:
            below = cumulative.get(low, 0.0)
            return low if high == float("inf") else low + (high - low) * (wanted - below) / (held - below)
    return None


def read_exposition(text: str, *, launch: int, at_ms: int) -> Reading:
    """The figures in Prometheus' text format. What is not there is absent; lines that are none are passed over."""
    done = dead = 0.0
    lag: float | None = None
    latency: dict[float, float] = {}
    plain: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        series, _, said = line.rpartition(" ")
        name, _, labels = series.partition("{")
        try:
            value = float(said)
        except ValueError:
            continue
        if name in _DONE_NAMES:
            done += value
        elif name == scorer.RECORDS_DEAD_LETTERED.name:
            dead += value
        elif name in _LAG_NAMES:
            lag = (lag or 0.0) + value
        elif name == _BUCKET:
            latency[_bound(labels)] = value
        else:
            plain[name] = value
    at_work = plain.get(trainer.REQUEST_AT_WORK.name)
    return Reading(
        launch=launch,
        at_ms=at_ms,
        done=done,
        dead_letters=dead,
        lag=lag,
        latency=latency,
        memory_bytes=plain.get("process_resident_memory_bytes"),
        cpu_secs=plain.get("process_cpu_seconds_total"),
        at_work=None if at_work is None else bool(at_work),
    )


def _bound(labels: str) -> float:
    return float(labels.partition('le="')[2].partition('"')[0].replace("+Inf", "inf") or "inf")


def _milliseconds(secs: float | None) -> float | None:
    return None if secs is None else secs * 1000
