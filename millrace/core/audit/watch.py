"""The sequence of everything for one model version: windows in, reports and decisions out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.decisions import Policy
from millrace.core.audit.drift import compare, log_e_value
from millrace.core.audit.estimate import estimate
from millrace.core.audit.evidence import DriftDetector, ErrorDetector, LossDetector
from millrace.core.audit.findings import DRIFT_SIGNAL
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane
from millrace.core.audit.performance import Metric, clopper_pearson_upper, error_losses, measure
from millrace.core.audit.policy import Decision, decide
from millrace.core.audit.report import (
    AuditReport,
    Evidence,
    FeatureDrift,
    Json,
    LabelHorizon,
    QualityLimits,
    Subject,
    check_quality,
    count,
    cover,
)
from millrace.core.audit.segments import Segments
from millrace.core.audit.special import log_mean
from millrace.core.audit.standing import PolicyState
from millrace.core.audit.windows import NO_TIME, Stage, Window
from millrace.core.errors import RequestError
from millrace.core.profile import NumericCells, ReferenceProfile
from millrace.core.signature import Task

LEARNING_WINDOWS: Final = 5
"""Mature windows from which a missing baseline is learnt."""

_ENOUGH_REFERENCE: Final = 30
"""A reference of fewer windows makes drift alarms more frequent than stated: its own chance is in every comparison."""
_SMALL_REFERENCE_FACTOR: Final = 10.0
_LARGEST_LOSS: Final = 8.0
"""Errors of a regression are clipped at this multiple of the baseline, because bets need a bounded loss."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the watched metric was when the version was judged good.

    Attributes:
        value: The metric.
        upper: Its upper confidence limit, against which evidence is gathered.
        is_learnt: Whether it comes from the first mature windows, for want of a reference.
    """

    value: float
    upper: float
    is_learnt: bool = False

    @classmethod
    def of_errors(cls, errors: int, rows: int, *, is_learnt: bool = False) -> "Baseline":
        """The baseline of an error rate that was counted on so many rows."""
        return cls(errors / rows, clopper_pearson_upper(errors, rows), is_learnt)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched, and how. Fixed for the life of a version.

    Attributes:
        subject: Model and version.
        layout: What its panes count.
        profile: Its reference profile; None where it has none, and then there is neither drift nor an estimate.
        policy: The rules.
        limits: When data counts as broken.
        overlap: How many windows each event is in: the size of the windows by their hop.
        segments: How its events are divided; None where they are not.
        label_horizon: How long labels are waited for, for the reports.
    """

    subject: Subject
    layout: Layout
    profile: ReferenceProfile | None = None
    policy: Policy = field(default_factory=Policy)
    limits: QualityLimits = field(default_factory=QualityLimits)
    overlap: int = 1
    segments: Segments | None = None
    label_horizon: LabelHorizon | None = None

    def __post_init__(self) -> None:
        expected = "mae" if self.layout.task is Task.REGRESSION else "error_rate"
        if self.policy.metric != expected:
            raise RequestError(
                f"the policy of a {self.layout.task} model watches {self.policy.metric!r}",
                remedy=f"a {self.layout.task} model is watched by {expected!r}",
            )


@dataclass(frozen=True, slots=True)
class WatchState:
    """What is remembered between the windows of one version.

    Attributes:
        baseline: The baseline; None while it is being learnt.
        errors: The performance detector; None without a baseline.
        drift: The drift detector.
        policy: What the rules remember.
        closed_until_ms: End of the last window that the drift detector remembers.
        mature_until_ms: Panes before this time were taken by the performance detector.
        learning: The sum of the mature windows so far, and their number; no sum once there is a baseline.
        segments: The same for each segment that has been seen, by name. Only performance is watched there: a segment's
            baseline is learnt, and it has no reference of its own.
    """

    baseline: Baseline | None
    errors: ErrorDetector | LossDetector | None
    drift: DriftDetector
    policy: PolicyState = field(default_factory=PolicyState)
    closed_until_ms: int = NO_TIME
    mature_until_ms: int = NO_TIME
    learning: tuple[Pane | None, int] = (None, 0)
    segments: Mapping[str, "WatchState"] = field(default_factory=dict)

    @property
    def log_performance(self) -> float:
        """Logarithm of the performance evidence: the mean over the whole and its segments, itself an e-detector.

        A fall of one segment counts although the whole hides it, and many segments alarm no oftener than one.
        """
        watched = [self, *(self.segments[name] for name in sorted(self.segments))]
        return log_mean(tuple(each.errors.log_evidence for each in watched if each.errors is not None))


@dataclass(frozen=True, slots=True)
class View:
    """One window as the evidence of all partitions shows it.

    Attributes:
        window: The window.
        stage: How complete it is; each window is shown once closed, once mature, and then for every amendment.
        watermark_ms: The prediction watermark.
        panes: The panes of the window by start, all segments added up.
        segments: The same for each segment that has events, by name.
        is_whole: Whether the version predicted from its start on. A part of a window, say one season of a year, is no
            sample of what the reference is a sample of: it is no evidence of drift.
        revision: How often it was reported before.
        references: Reference counts per feature to use in place of the profile's, for example those of the same season.
        inputs: Offsets, for the report.
    """

    window: Window
    stage: Stage
    watermark_ms: int
    panes: Mapping[int, Pane]
    revision: int = 0
    references: Sequence[NDArray[np.int64]] | None = None
    inputs: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    segments: Mapping[str, Mapping[int, Pane]] = field(default_factory=dict)
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """What one window led to. The reports of segments explain; nothing is decided on them."""

    state: WatchState
    report: AuditReport
    decision: Decision
    segments: tuple[AuditReport, ...] = ()


def begin(watch: Watch, baseline: Baseline | None) -> WatchState:
    """Begin to watch a version: fresh detectors, nothing remembered."""
    drift = DriftDetector(watch.policy.drift_threshold_steps)
    return WatchState(baseline, _detector(watch, baseline), drift)


def observe(watch: Watch, state: WatchState, view: View) -> Observation:
    """Report a window and decide what follows. The windows of one version come in order of their ends."""
    pane = _sum(watch, view.panes)
    quality = check_quality(pane, watch.limits)
    drift: Sequence[FeatureDrift] = _compare_features(watch, pane, state, view.references)
    detector = state.drift
    if view.stage is Stage.CLOSED:
        state, detector, drift = _take_closed(watch, state, view, drift)
    elif view.stage is Stage.MATURE:
        is_usable = all(check.is_ok for check in quality)
        state = _take_mature(watch, state, view, pane, is_usable=is_usable)
        state = replace(state, segments=_take_segments(watch, state, view, is_usable=is_usable))
    performance = measure(pane)
    report = AuditReport(
        subject=watch.subject,
        window=view.window,
        stage=view.stage,
        revision=view.revision,
        watermark_ms=view.watermark_ms,
        counts=count(pane, view.stage),
        coverage=cover(pane),
        performance=performance,
        estimate=_estimate(watch, pane.section("scores")[-1]),
        estimate_baseline=_estimate_baseline(watch),
        drift=drift,
        quality=quality,
        evidence=_evidence(watch, state, detector, performance),
        reference=_reference(watch, state),
        policy=watch.policy.id,
        inputs=view.inputs,
        label_horizon=watch.label_horizon,
    )
    decision = decide(state.policy, report, watch.policy)
    segments = tuple(_explain(watch, state, view, name) for name in sorted(view.segments))
    return Observation(_after(state, decision), report, decision, segments)


def _explain(watch: Watch, state: WatchState, view: View, name: str) -> AuditReport:
    """The report of a segment. Without drift and quality: its features differ from the reference by what it is."""
    pane, own = _sum(watch, view.segments[name]), state.segments.get(name, begin(watch, None))
    performance = measure(pane)
    return AuditReport(
        subject=replace(watch.subject, segment=name),
        window=view.window,
        stage=view.stage,
        revision=view.revision,
        watermark_ms=view.watermark_ms,
        counts=count(pane, view.stage),
        coverage=cover(pane),
        performance=performance,
        estimate=_estimate(watch, pane.section("scores")[-1]),
        estimate_baseline=None,
        drift=(),
        quality=(),
        evidence=_performance_evidence(watch, own, performance),
        reference=_reference(watch, own),
        policy=watch.policy.id,
        inputs=view.inputs,
        label_horizon=watch.label_horizon,
    )


def _sum(watch: Watch, panes: Mapping[int, Pane]) -> Pane:
    return reduce(add, (panes[start] for start in sorted(panes)), Pane.empty(watch.layout))


def _take_segments(watch: Watch, state: WatchState, view: View, *, is_usable: bool) -> dict[str, WatchState]:
    """Let each segment's detector take its panes; a segment that is met for the first time begins to learn."""
    taken = dict(state.segments)
    for name, panes in sorted(view.segments.items()):
        before = taken.get(name, begin(watch, None))
        own = replace(view, panes=panes)
        taken[name] = _take_mature(watch, before, own, _sum(watch, panes), is_usable=is_usable)
    return taken


def _detector(watch: Watch, baseline: Baseline | None) -> ErrorDetector | LossDetector | None:
    if baseline is None or baseline.upper <= 0.0:
        return None
    if watch.layout.task is Task.REGRESSION:
        return LossDetector(1.0 / _LARGEST_LOSS, watch.policy.label_threshold_steps)
    return ErrorDetector(min(baseline.upper, 0.999), watch.policy.label_threshold_steps)


def _compare_features(
    watch: Watch, pane: Pane, state: WatchState, references: Sequence[NDArray[np.int64]] | None
) -> list[FeatureDrift]:
    compared = []
    counts = _references(watch, references)
    for position, (entry, reference) in enumerate(zip(watch.layout.cells, counts, strict=True)):
        is_ordered = isinstance(entry, NumericCells)
        drift = compare(entry.feature, pane.feature(position), reference, ordered=is_ordered)
        evidence = state.drift.log_sums.get(entry.feature, -math.inf)
        compared.append(FeatureDrift(drift, log_e_value(drift.log_p), evidence))
    return _strongest_first(compared)


def _references(watch: Watch, references: Sequence[NDArray[np.int64]] | None) -> Sequence[NDArray[np.int64]]:
    """The reference counts of every feature: those given, or else the profile's."""
    return [np.array(entry.counts) for entry in watch.layout.cells] if references is None else references


def _take_closed(
    watch: Watch, state: WatchState, view: View, drift: Sequence[FeatureDrift]
) -> tuple[WatchState, DriftDetector, Sequence[FeatureDrift]]:
    """Let the drift detector take the window; returns what it shows for it beside what is remembered.

    Overlapping windows are not new evidence. Each is tried on top of the last one that did not overlap, so that a long
    window alarms before its time is over, and only the next one that does not overlap is remembered. That is as many
    interleaved detectors as windows overlap, hence the threshold is that many times higher.
    """
    rows = max((int(counts.sum()) for counts in _references(watch, view.references)), default=0)
    predictions = sum(pane.count("predictions") for pane in view.panes.values())
    if not predictions or not view.is_whole:
        return state, state.drift, drift
    small = rows < _ENOUGH_REFERENCE * predictions
    threshold = watch.policy.drift_threshold_steps * watch.overlap * (_SMALL_REFERENCE_FACTOR if small else 1.0)
    tried = replace(state.drift, threshold_steps=threshold).step({item.drift.feature: item.log_e for item in drift})
    if view.window.start_ms >= state.closed_until_ms:
        state = replace(state, drift=tried, closed_until_ms=view.window.end_ms)
    shown = [replace(item, log_evidence=tried.log_sums[item.drift.feature]) for item in drift]
    return state, tried, _strongest_first(shown)


def _take_mature(watch: Watch, state: WatchState, view: View, pane: Pane, *, is_usable: bool) -> WatchState:
    """Let the performance detector take the panes that it has not seen, one step each.

    Windows of broken data are no step: what they say is about the data, not about the model.
    """
    unseen = [pane for start, pane in sorted(view.panes.items()) if start >= state.mature_until_ms]
    state = replace(state, mature_until_ms=max(state.mature_until_ms, view.window.end_ms))
    if not is_usable:
        return state
    if state.errors is None:
        return _learn(watch, state, pane)
    return replace(state, errors=reduce(lambda detector, step: _step(detector, step, state), unseen, state.errors))


def _step(detector: ErrorDetector | LossDetector, pane: Pane, state: WatchState) -> ErrorDetector | LossDetector:
    if isinstance(detector, ErrorDetector):
        labelled = pane.count("labelled")
        return detector.step(labelled - int(pane.section("confusion").trace()), labelled)
    counts, errors = error_losses(pane)
    upper = state.baseline.upper if state.baseline is not None else 1.0
    return detector.step(counts, errors * pane.layout.scale / (_LARGEST_LOSS * upper))


def _learn(watch: Watch, state: WatchState, pane: Pane) -> WatchState:
    """Gather the first mature windows; when there are enough of them they become the baseline."""
    before, windows = state.learning
    total = pane if before is None else before + pane
    labelled = total.count("labelled")
    if windows + 1 < LEARNING_WINDOWS or labelled < watch.policy.min_samples:
        return replace(state, learning=(total, windows + 1))
    metric = measure(total)[watch.policy.metric]
    if watch.layout.task is Task.REGRESSION:
        baseline = Baseline(metric.value, metric.value if metric.hi is None else metric.hi, is_learnt=True)
    else:
        baseline = Baseline.of_errors(round(metric.value * labelled), labelled, is_learnt=True)
    return replace(state, baseline=baseline, errors=_detector(watch, baseline), learning=(None, windows + 1))


def _estimate(watch: Watch, scores: NDArray[np.int64]) -> Mapping[str, Metric] | None:
    if watch.layout.task is not Task.BINARY or watch.profile is None or watch.profile.isotonic is None:
        return None
    return estimate(scores, np.array(watch.profile.isotonic))


def _estimate_baseline(watch: Watch) -> float | None:
    if watch.profile is None or watch.profile.scores is None:
        return None
    estimated = _estimate(watch, np.array(watch.profile.scores.counts[-1]))
    return estimated["error_rate"].value if estimated else None


def _evidence(
    watch: Watch, state: WatchState, drift: DriftDetector, performance: Mapping[str, Metric]
) -> list[Evidence]:
    evidence = _performance_evidence(watch, state, performance)
    if watch.layout.cells:
        evidence.append(Evidence(DRIFT_SIGNAL, 0.0, None, drift.log_evidence, drift.threshold_steps))
    return evidence


def _performance_evidence(watch: Watch, state: WatchState, performance: Mapping[str, Metric]) -> list[Evidence]:
    if state.baseline is None or state.errors is None:
        return []
    metric = performance.get(watch.policy.metric)
    observed, threshold = None if metric is None else metric.value, state.errors.threshold_steps
    return [Evidence(watch.policy.metric, state.baseline.value, observed, state.log_performance, threshold)]


def _reference(watch: Watch, state: WatchState) -> Json:
    profile = watch.profile
    return {
        "id": None if profile is None else profile.id,
        "rows": 0 if profile is None else profile.rows,
        "baseline_learnt": state.baseline is not None and state.baseline.is_learnt,
        "baseline_windows": state.learning[1],
    }


def _after(state: WatchState, decision: Decision) -> WatchState:
    """Detectors forget what was acted upon: performance after a request, drift when its last alert is cleared."""
    errors, drift, segments = state.errors, state.drift, state.segments
    if decision.request is not None:
        errors = errors and errors.reset()
        segments = {name: replace(own, errors=own.errors and own.errors.reset()) for name, own in segments.items()}
    signals = {alert.signal for alert in decision.alerts if alert.state == "cleared"}
    still = {key[0] for key in decision.state.alerts}
    if DRIFT_SIGNAL in signals and DRIFT_SIGNAL not in still:
        drift = drift.reset()
    return replace(state, errors=errors, drift=drift, segments=segments, policy=decision.state)


def _strongest_first(items: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    return sorted(items, key=lambda item: (-item.log_evidence, -item.log_e, item.drift.feature))
