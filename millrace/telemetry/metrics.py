"""Metrics as a typed, closed table, and the instruments that hold their values.

A metric's name is built from its parts, so the grammar `millrace_<service>_<noun>_<unit>[_total]` holds by
construction. Label values come from closed lists wherever there is one; a key, an offset or a record never is a label.
The tables in `docs/reference/metrics.md` are generated from the same values.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import product
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from millrace.core.errors import RequestError

_WORD: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Kind(StrEnum):
    """How a metric's value moves."""

    COUNTER = "counter"
    """Only grows, until the process restarts."""
    GAUGE = "gauge"
    """Goes up and down."""
    HISTOGRAM = "histogram"
    """Counts of observations up to each bound, and their sum."""


class Unit(StrEnum):
    """What one of a metric is. Base units only."""

    RECORDS = "records"
    SECONDS = "seconds"
    BYTES = "bytes"
    BATCHES = "batches"
    TRANSACTIONS = "transactions"
    REBALANCES = "rebalances"
    PRODUCERS = "producers"
    REQUESTS = "requests"
    PARTITIONS = "partitions"
    PROCESSES = "processes"
    SUBSCRIBERS = "subscribers"
    STATE = "state"
    """1 while it holds, 0 otherwise."""
    INFO = "info"
    """Always 1; the labels carry what there is to know."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the values it may have; without values it is open, and must have few of them by its nature."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What there is to know about a metric before it has a value.

    Attributes:
        service: Who measures: `scorer`, `lane`.
        noun: What is measured; empty where the unit says it.
        unit: Last word of the name.
        kind: How the value moves.
        sentence: What it means, for the person who looks at a dashboard.
        labels: In the order in which exposition writes them.
        buckets: Ascending upper bounds of a histogram, without infinity.
        name: The full name, as dashboards use it; made of the parts.
    """

    service: str
    noun: str
    unit: Unit
    kind: Kind
    sentence: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    name: str = field(init=False)

    def __post_init__(self) -> None:
        parts = ["millrace", self.service, self.noun, self.unit.value]
        if self.kind is Kind.COUNTER:
            parts.append("total")
        object.__setattr__(self, "name", "_".join(filter(None, parts)))
        if not _WORD.fullmatch(self.service) or (self.noun and not _WORD.fullmatch(self.noun)):
            raise RequestError(f"{self.name!r} is no metric name", remedy="use lower-case words and underscores")
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise RequestError(f"{self.name} has buckets {self.buckets}", remedy="histograms have ascending buckets")


_LabelValues: TypeAlias = tuple[str, ...]


@cache
def build_info(service: str) -> MetricSpec:
    """The metric by which every service says which version runs; one value per service, as specs are compared so."""
    labels = (Label("version"), Label("python"))
    return MetricSpec(service, "build", Unit.INFO, Kind.GAUGE, "What is running.", labels)


@cache
def provider_keys_age(service: str) -> MetricSpec:
    """The metric by which a door says how old its knowledge of the identity provider is; one value per service."""
    sentence = "Time since the identity provider last showed its public keys; 0 where no provider is named."
    return MetricSpec(service, "provider_keys_age", Unit.SECONDS, Kind.GAUGE, sentence)


@dataclass(slots=True)
class _Histogram:
    counts: NDArray[np.int64]
    total: float = 0.0


class Instruments(Collector):
    """The values of a closed set of metrics, for one process. Safe to use from any thread.

    Series whose labels are closed lists exist from the start with value 0, so that a rate over them is never absent.

    Args:
        specs: The metrics. Names must differ.
        constants: Labels with one value for the whole process, put on every series.
    """

    def __init__(self, specs: Iterable[MetricSpec], *, constants: Mapping[str, str] | None = None) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._constants = dict(constants or {})
        self._lock = Lock()
        self._values: dict[str, dict[_LabelValues, float]] = {}
        self._histograms: dict[str, dict[_LabelValues, _Histogram]] = {}
        self._followed: dict[str, Callable[[], float]] = {}
        for spec in self._specs.values():
            series = list(product(*(label.values for label in spec.labels)))
            if spec.kind is Kind.HISTOGRAM:
                self._histograms[spec.name] = {values: _empty(spec) for values in series}
            else:
                self._values[spec.name] = dict.fromkeys(series, 0.0)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def add(self, spec: MetricSpec, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter or a gauge."""
        values = self._label_values(spec, labels)
        with self._lock:
            series = self._values[spec.name]
            series[values] = series.get(values, 0.0) + amount

    def set(self, spec: MetricSpec, value: float, /, **labels: str) -> None:
        """Set a gauge; or a counter that is counted elsewhere, to its count so far."""
        values = self._label_values(spec, labels)
        with self._lock:
            self._values[spec.name][values] = float(value)

    def replace(self, spec: MetricSpec, value: float, /, **labels: str) -> None:
        """Set one series and forget the metric's others: what an `info` metric needs when its labels change."""
        values = self._label_values(spec, labels)
        with self._lock:
            self._values[spec.name] = {values: float(value)}

    def follow(self, spec: MetricSpec, read: Callable[[], float]) -> None:
        """Have a gauge without labels read whenever somebody looks: what grows by itself is never told too late."""
        self._label_values(spec, {})
        self._followed[spec.name] = read

    def observe(self, spec: MetricSpec, observed: ArrayLike, /, **labels: str) -> None:
        """Put one observation, or a whole array of them, into a histogram. Costs no Python per observation."""
        values = self._label_values(spec, labels)
        if isinstance(observed, (int, float)):
            self._observe_one(spec, values, observed)
            return
        numbers = np.atleast_1d(np.asarray(observed, dtype=np.float64))
        counts = np.bincount(np.searchsorted(spec.buckets, numbers), minlength=len(spec.buckets) + 1)
        with self._lock:
            histogram = self._histograms[spec.name].setdefault(values, _empty(spec))
            histogram.counts += counts
            histogram.total += float(numbers.sum())

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format, with the process's own memory, CPU and file descriptors."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client."""
        read: dict[str, dict[_LabelValues, float]] = {name: {(): each()} for name, each in self._followed.items()}
        with self._lock:
            self._values |= read
            families = [self._family(spec) for spec in self._specs.values()]
        yield from families

    def _observe_one(self, spec: MetricSpec, values: _LabelValues, number: float) -> None:
        with self._lock:
            histogram = self._histograms[spec.name].setdefault(values, _empty(spec))
            histogram.counts[bisect_left(spec.buckets, number)] += 1
            histogram.total += number

    def _label_values(self, spec: MetricSpec, labels: Mapping[str, str]) -> _LabelValues:
        if self._specs.get(spec.name) is not spec:
            raise KeyError(spec.name)
        if len(labels) != len(spec.labels):
            raise KeyError(f"{spec.name} has labels {[label.name for label in spec.labels]}, not {sorted(labels)}")
        for label in spec.labels:
            if label.values and labels[label.name] not in label.values:
                raise ValueError(f"{spec.name}: {label.name} is one of {label.values}, not {labels[label.name]!r}")
        return tuple(labels[label.name] for label in spec.labels)

    def _family(self, spec: MetricSpec) -> Metric:
        names = [*self._constants, *(label.name for label in spec.labels)]
        constants = list(self._constants.values())
        if spec.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(spec.name, spec.sentence, labels=names)
            for values, held in self._histograms[spec.name].items():
                histogram.add_metric([*constants, *values], buckets=_cumulative(spec, held), sum_value=held.total)
            return histogram
        family = CounterMetricFamily if spec.kind is Kind.COUNTER else GaugeMetricFamily
        plain = family(spec.name, spec.sentence, labels=names)
        for values, value in self._values[spec.name].items():
            plain.add_metric([*constants, *values], value)
        return plain


def _empty(spec: MetricSpec) -> _Histogram:
    return _Histogram(np.zeros(len(spec.buckets) + 1, np.int64))


def _cumulative(spec: MetricSpec, held: _Histogram) -> Sequence[tuple[str, float]]:
    bounds = [*map(str, spec.buckets), "+Inf"]
    return list(zip(bounds, np.cumsum(held.counts).tolist(), strict=True))
