"""A simulated deployment: a model, its labels with their delays, and the auditor fed in order of arrival."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane
from millrace.core.audit.partition import PartitionAudit
from millrace.core.audit.report import Subject
from millrace.core.audit.watch import Baseline, Observation, View, Watch, WatchState, begin, observe
from millrace.core.audit.windows import Stage, Watermarks, Window, WindowSpec
from millrace.core.signature import Task

LAYOUT: Final = Layout(Task.BINARY, ("no", "yes"))
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Events:
    """Scored events in order of event time, and their truth.

    Attributes:
        times_ms: When each happened.
        scores: The model's score of the second class.
        truth: The class that each turned out to be.
        label_times_ms: When that became known; -1 where it never did.
    """

    times_ms: NDArray[np.int64]
    scores: NDArray[np.float64]
    truth: NDArray[np.int64]
    label_times_ms: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        return (self.scores > 0.5).astype(np.int64)


def error_stream(
    rng: np.random.Generator,
    error_rates: NDArray[np.float64],
    *,
    spacing_ms: int = 1000,
    delays_ms: NDArray[np.int64] | None = None,
) -> Events:
    """One event each `spacing_ms`, wrong with its own probability; labelled after `delays_ms`, at once if None."""
    count = len(error_rates)
    times = np.arange(count, dtype=np.int64) * spacing_ms
    scores = rng.random(count)
    truth = (scores > 0.5) ^ (rng.random(count) < error_rates)
    return Events(times, scores, truth.astype(np.int64), times + (0 if delays_ms is None else delays_ms))


@dataclass
class Auditor:
    """One partition's counts and the watch over its only version, driven by the clock of a simulation."""

    spec: WindowSpec
    watch: Watch
    state: WatchState
    partition: PartitionAudit
    watermarks: Watermarks
    seen: dict[tuple[Window, Stage], int] = field(default_factory=dict)

    def due(self) -> Iterator[Observation]:
        """Show every window that has reached its next stage, in order of their ends."""
        starts = sorted({key.start_ms for key in self.partition.panes})
        for window in sorted({window for start in starts for window in self.spec.windows_of(start)}):
            reached = self.spec.stage(window, self.watermarks.current_ms)
            for stage in (Stage.CLOSED, Stage.MATURE):
                if (window, stage) not in self.seen and (reached is stage or reached is Stage.MATURE):
                    yield self.show(window, stage)

    def show(self, window: Window, stage: Stage) -> Observation:
        """Show one window in this stage."""
        self.seen[window, stage] = 1
        observation = observe(
            self.watch,
            self.state,
            View(window, stage, self.watermarks.current_ms, self.panes(window), revision=int(stage is Stage.MATURE)),
        )
        self.state = observation.state
        return observation

    def panes(self, window: Window) -> dict[int, Pane]:
        starts = set(self.spec.panes_of(window))
        return {key.start_ms: pane for key, pane in self.partition.panes.items() if key.start_ms in starts}


def auditor(spec: WindowSpec, watch: Watch, baseline: Baseline | None) -> Auditor:
    """An auditor that has seen nothing yet."""
    return Auditor(
        spec,
        watch,
        begin(watch, baseline),
        PartitionAudit(spec, {VERSION: watch.layout}),
        Watermarks.of(spec, {0: 0}),
    )


def watch_of(layout: Layout = LAYOUT) -> Watch:
    return Watch(Subject("loans", VERSION), layout)


def run(audit: Auditor, events: Events, tick: timedelta) -> Iterator[Observation]:
    """Feed events as they happen and labels as they become known, tick by tick until the last window is mature."""
    tick_ms = tick // timedelta(milliseconds=1)
    by_label_time = np.argsort(events.label_times_ms, kind="stable")
    by_label_time = by_label_time[events.label_times_ms[by_label_time] >= 0]
    horizon_ms = audit.spec.retention_ms + audit.spec.size_ms
    last = max(int(events.times_ms[-1]) + horizon_ms, int(events.label_times_ms.max())) + 2 * tick_ms
    for start in range(0, last, tick_ms):
        add_predictions(audit.partition, events, between(events.times_ms, start, start + tick_ms))
        known = between(events.label_times_ms[by_label_time], start, start + tick_ms)
        add_labels(audit.partition, events, by_label_time[known])
        # The producer never stops: time goes on without events, too.
        audit.watermarks = audit.watermarks.observe({0: start + tick_ms}, start + tick_ms)
        yield from audit.due()


def between(times_ms: NDArray[np.int64], start: int, end: int) -> slice:
    """The rows of ascending times from start (included) to end (not included)."""
    low, high = np.searchsorted(times_ms, (start, end))
    return slice(int(low), int(high))


def add_predictions(partition: PartitionAudit, events: Events, rows: slice | NDArray[np.intp]) -> None:
    times = events.times_ms[rows]
    if len(times):
        ones = np.ones(len(times), np.int64)
        partition.add_predictions(
            Predictions(
                event_ids(times), times, ones * VERSION, ones * 0, events.predicted[rows], events.scores[rows][:, None]
            ),
            np.empty((len(times), 0), np.uint8),
        )


def add_labels(partition: PartitionAudit, events: Events, rows: slice | NDArray[np.intp]) -> None:
    times = events.times_ms[rows]
    if len(times):
        zeros = np.zeros(len(times), np.int64)
        partition.add_labels(
            Labels(
                event_ids(times),
                events.truth[rows].astype(np.float64),
                events.label_times_ms[rows],
                zeros,
                zeros.astype(np.bool_),
            )
        )


def event_ids(times_ms: NDArray[np.int64]) -> Sequence[bytes]:
    """An id for each event: here, its time."""
    return list(map(b"loans.features-0-%d".__mod__, times_ms.tolist()))
