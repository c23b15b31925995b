"""Figures of the performance detector and of what labels with a delay do to estimates: bars 9 to 12."""

from datetime import timedelta
from typing import Final

import numpy as np

from millrace.core.audit.evidence import ErrorDetector
from millrace.core.audit.watch import Baseline
from millrace.core.audit.windows import Stage, WindowSpec
from tests.audit_figures.stream import Events, auditor, error_stream, run, watch_of

BASELINE: Final = 0.10
PANE_EVENTS: Final = 100
THRESHOLD_EVENTS: Final = 1e6


def detector() -> ErrorDetector:
    """c = 1e6 events in panes of 100, against a known baseline."""
    return ErrorDetector(BASELINE, THRESHOLD_EVENTS / PANE_EVENTS)


def null_alarm_share(streams: int, events: int = 20_000) -> float:
    """Bar 9: the share of streams without any change that alarm."""
    panes = np.random.default_rng(9).binomial(PANE_EVENTS, BASELINE, (streams, events // PANE_EVENTS))
    return sum(_steps_to_alarm(stream) is not None for stream in panes.tolist()) / streams


def delay_events(rate: float, streams: int, before: int = 10_000, after: int = 20_000) -> float:
    """Bar 10: the mean number of labelled events from the change to the alarm; an alarm before it is forgotten."""
    rng = np.random.default_rng(10)
    delays = []
    for _ in range(streams):
        state = detector()
        for errors in rng.binomial(PANE_EVENTS, BASELINE, before // PANE_EVENTS).tolist():
            state = state.step(errors, PANE_EVENTS)
            state = state.reset() if state.is_alarm else state
        steps = _steps_to_alarm(rng.binomial(PANE_EVENTS, rate, after // PANE_EVENTS).tolist(), state)
        delays.append(after if steps is None else steps * PANE_EVENTS)
    return float(np.mean(delays))


FLIP_SPEC: Final = WindowSpec(
    label_horizon=timedelta(minutes=10), size=timedelta(minutes=10), pane=timedelta(minutes=2)
)


def windows_to_request(seed: int, *, flipped: float, windows: int = 30, change: int = 15) -> int | None:
    """Bar 11: mature windows from the change to a retrain request; None if there is none, negative if before."""
    per_window = 600
    rng = np.random.default_rng(seed)
    error_rates = np.full(windows * per_window, BASELINE)
    error_rates[change * per_window :] = BASELINE * (1 - flipped) + (1 - BASELINE) * flipped
    events = error_stream(rng, error_rates, delays_ms=rng.integers(0, 300_000, len(error_rates)))
    audit = auditor(FLIP_SPEC, watch_of(), Baseline.of_errors(5000, 50_000))
    for observation in run(audit, events, timedelta(minutes=1)):
        if observation.decision.request is not None:
            return (observation.report.window.start_ms // FLIP_SPEC.size_ms) - change + 1
    return None


DELAY_SPEC: Final = WindowSpec(label_horizon=timedelta(seconds=20_000), size=timedelta(seconds=5000))


def outcome_dependent_delays(seed: int, count: int = 40_000) -> Events:
    """Positives (10 %) are known after about 2,000 s, negatives after nearly 20,000 s; a well calibrated score."""
    rng = np.random.default_rng(seed)
    times = np.arange(count, dtype=np.int64) * 1000
    scores = rng.beta(0.5, 4.5, count)
    truth = (rng.random(count) < scores).astype(np.int64)
    delays = np.where(truth == 1, rng.exponential(2_000_000, count), rng.uniform(18e6, 19.99e6, count))
    return Events(times, scores, truth, times + np.minimum(delays, 19.99e6).astype(np.int64))


def delayed_accuracy(seed: int, count: int = 40_000) -> list[tuple[Stage, int, float, float, int]]:
    """Bar 12: per report its stage, window number, accuracy, true accuracy, and labelled events."""
    events = outcome_dependent_delays(seed, count)
    right = events.predicted == events.truth
    audit = auditor(DELAY_SPEC, watch_of(), Baseline.of_errors(5000, 50_000))
    found = []
    for observation in run(audit, events, timedelta(seconds=1000)):
        report = observation.report
        inside = (events.times_ms >= report.window.start_ms) & (events.times_ms < report.window.end_ms)
        accuracy = report.performance.get("accuracy")
        if accuracy is not None:
            number = report.window.start_ms // DELAY_SPEC.size_ms
            found.append(
                (report.stage, number, accuracy.value, right[inside].sum() / max(int(inside.sum()), 1), accuracy.n)
            )
    return found


def _steps_to_alarm(stream: list[int], state: ErrorDetector | None = None) -> int | None:
    state = state or detector()
    for step, errors in enumerate(stream, start=1):
        state = state.step(errors, PANE_EVENTS)
        if state.is_alarm:
            return step
    return None
