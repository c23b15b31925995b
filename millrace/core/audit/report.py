"""The audit report: everything that is known about one window of one model version, as one document."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.drift import Drift
from millrace.core.audit.layout import COUNTERS, DELAYS
from millrace.core.audit.pane import Pane
from millrace.core.audit.performance import Metric
from millrace.core.audit.windows import Stage, Window
from millrace.core.profile import NumericCells

Json: TypeAlias = Mapping[str, object]

WHOLE: Final = "*"
"""The segment that is the sum of all segments; the only one that decisions are made on."""

_NAMESPACE: Final = UUID("5b0a5a0e-0f0b-5d0c-9a55-6d696c6c7261")
_COVERAGE_BINS: Final = 10
_DIGITS: Final = 12
"""Significant digits of a figure: beyond them a processor's logarithm could show."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about."""

    model: str
    version: int
    segment: str = WHOLE


@dataclass(frozen=True, slots=True)
class LabelHorizon:
    """How long labels are waited for, and whether that is only assumed, for want of anybody's word."""

    duration: timedelta
    is_assumed: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a window is labelled, and whether the labels were selected by score.

    Attributes:
        overall: Labelled predictions among all.
        by_score_bin: The same per tenth of the score range; None where a tenth has no predictions.
        median_label_delay_s: Lower edge of the cell of the median delay; cells are a quarter of an octave wide.
    """

    overall: float
    by_score_bin: tuple[float | None, ...]
    median_label_delay_s: float | None

    @property
    def by_score_bin_min(self) -> float | None:
        """The least covered tenth of the score range."""
        return min((share for share in self.by_score_bin if share is not None), default=None)


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature's drift with the evidence that has been gathered for it."""

    drift: Drift
    log_e: float
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Quality:
    """One check of one feature's data: whether `value` is at least `limit`."""

    feature: str
    check: str
    value: float
    limit: float

    @property
    def is_ok(self) -> bool:
        """Whether the data passes."""
        return self.value >= self.limit


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """The least shares of good values; reference shares lower than these lower the limits with them.

    Attributes:
        completeness: Values that are not null.
        in_range: Numbers within the range of the reference. A drifting feature leaves the range in part; one in the
            wrong unit leaves it almost entirely.
        known: Categories that the reference has.
        readable: Predictions whose bins fit the reference profile.
        predictions: The fewest predictions of a window, as a number; 0 where any volume is right.
    """

    completeness: float = 0.95
    in_range: float = 0.2
    known: float = 0.5
    readable: float = 0.99
    predictions: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a detector holds after this window, against what.

    Attributes:
        signal: The metric that is watched, or `drift`.
        baseline: The metric on the reference.
        observed: The metric in this window; None where it is not defined.
        log_evidence: Logarithm of the e-detector's value.
        threshold: The evidence at which it alarms: also the mean number of steps to a false alarm, at the least.
    """

    signal: str
    baseline: float
    observed: float | None
    log_evidence: float
    threshold: float

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= math.log(self.threshold)

    @property
    def effect(self) -> float:
        """Relative degradation against the baseline; 0 where nothing was observed, infinite against a perfect one."""
        if not self.observed:
            return 0.0
        return self.observed / self.baseline - 1.0 if self.baseline > 0 else math.inf


@dataclass(frozen=True, slots=True)
class AuditReport:
    """One window of one version and segment.

    Attributes:
        subject: What it is about.
        window: The event times.
        stage: How complete the window is.
        revision: How often it was reported in this stage or a later one before.
        watermark_ms: The prediction watermark; decisions take it as their time.
        counts: The single counts of the window.
        coverage: How much is labelled.
        performance: Metrics of labelled predictions; final from stage `mature` on.
        estimate: Metrics estimated without labels; None without a calibration.
        estimate_baseline: The estimate of the error rate on the reference itself.
        drift: Per feature, strongest evidence first.
        quality: Checks of the data.
        evidence: Detectors after this window.
        reference: Id and rows of the reference, and whether it was learnt from the stream.
        policy: Id of the policy in force.
        label_horizon: How long labels are waited for; None where nobody says.
        inputs: Offsets that it was made of: topic, partition, first offset, next offset.
    """

    subject: Subject
    window: Window
    stage: Stage
    revision: int
    watermark_ms: int
    counts: Mapping[str, int]
    coverage: Coverage
    performance: Mapping[str, Metric]
    estimate: Mapping[str, Metric] | None
    estimate_baseline: float | None
    drift: Sequence[FeatureDrift]
    quality: Sequence[Quality]
    evidence: Sequence[Evidence]
    reference: Json
    policy: str = ""
    inputs: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    label_horizon: LabelHorizon | None = None

    @property
    def id(self) -> str:
        """Equal for equal content and history, so that a replay writes the same record again."""
        subject = self.subject
        return document_id(subject.model, subject.version, subject.segment, iso(self.window.start_ms), self.revision)

    def evidence_of(self, signal: str) -> Evidence | None:
        """The detector of this signal; None where none watches it."""
        return next((evidence for evidence in self.evidence if evidence.signal == signal), None)

    def to_dict(self) -> Json:
        """The document of topic `<deployment>.audits`."""
        window, horizon = self.window, self.label_horizon
        estimate = None if self.estimate is None else {"method": "cbpe", **metrics_document(self.estimate)}
        return {
            "type": "audit.report.v1",
            "id": self.id,
            **asdict(self.subject),
            "window": {
                "start": iso(window.start_ms),
                "end": iso(window.end_ms),
                "size_s": (window.end_ms - window.start_ms) // 1000,
            },
            "stage": self.stage.value,
            "revision": self.revision,
            "watermark": iso(self.watermark_ms),
            "counts": dict(self.counts),
            "coverage": {
                "overall": figure(self.coverage.overall),
                "by_score_bin": [figure(share) for share in self.coverage.by_score_bin],
                "by_score_bin_min": figure(self.coverage.by_score_bin_min),
                "median_label_delay_s": self.coverage.median_label_delay_s,
            },
            "performance": metrics_document(self.performance),
            "estimate": estimate,
            "drift": list(map(_drift_document, self.drift)),
            "quality": [{**asdict(quality), "ok": quality.is_ok} for quality in self.quality],
            "evidence": list(map(_evidence_document, self.evidence)),
            "reference": dict(self.reference),
            "policy": self.policy,
            "label_horizon": None
            if horizon is None
            else {"size_s": horizon.duration.total_seconds(), "assumed": horizon.is_assumed},
            "inputs": {topic: dict(partitions) for topic, partitions in self.inputs.items()},
        }

    def to_json(self) -> bytes:
        """Canonical JSON: equal reports give equal bytes."""
        return canonical_json(self.to_dict())


def count(pane: Pane, stage: Stage) -> dict[str, int]:
    """The single counts of a window. What has no label awaits one until the window is mature, then it never came."""
    counts = {name: pane.count(name) for name in COUNTERS}
    missing = counts["predictions"] - counts["labelled"] - counts["unknown_labels"]
    is_final = stage in {Stage.MATURE, Stage.AMENDED, Stage.EVICTED}
    return {**counts, "awaiting": 0 if is_final else missing, "expired_unlabelled": missing if is_final else 0}


def cover(pane: Pane) -> Coverage:
    """How much of a window is labelled."""
    predictions, labelled = pane.count("predictions"), pane.count("labelled")
    total, known = (
        pane.section(name)[-1].reshape(_COVERAGE_BINS, -1).sum(axis=1).tolist()
        for name in ("scores", "labelled_scores")
    )
    shares = tuple(k / t if t else None for k, t in zip(known, total, strict=True))
    return Coverage(labelled / predictions if predictions else 0.0, shares, _median_delay(pane.section("delays")))


def check_quality(pane: Pane, limits: QualityLimits) -> list[Quality]:
    """Check a window's volume, the readability of its bins, and every profiled feature."""
    predictions = pane.count("predictions")
    checks = []
    if limits.predictions:
        checks.append(Quality(WHOLE, "volume", float(predictions), float(limits.predictions)))
    if not predictions:
        return checks
    checks.append(Quality(WHOLE, "readable", 1.0 - pane.count("unreadable_bins") / predictions, limits.readable))
    for position, entry in enumerate(pane.layout.cells):
        now, before = pane.feature(position), np.array(entry.counts)
        checks.append(_share(entry.feature, "completeness", now, before, bad=[0], limit=limits.completeness))
        if isinstance(entry, NumericCells):
            checks.append(_share(entry.feature, "in_range", now, before, bad=[1, -1], limit=limits.in_range))
        else:
            checks.append(_share(entry.feature, "known", now, before, bad=[-1], limit=limits.known))
    return checks


def iso(time_ms: int) -> str:
    """A time as RFC 3339 in UTC; empty before any time."""
    if time_ms < -62_135_596_800_000:  # before the year 1: no watermark yet
        return ""
    whole, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def document_id(*parts: object) -> str:
    """An id made of what the document is about: the same facts give the same id."""
    return str(uuid5(_NAMESPACE, "|".join(map(str, parts))))


def canonical_json(document: Json) -> bytes:
    """JSON with sorted keys and no spaces; no NaN, no infinity."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def figure(value: float | None) -> float | None:
    """A number as documents show it; None where it is none or infinite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")


def metrics_document(metrics: Mapping[str, Metric]) -> dict[str, Json]:
    """Metrics by name as documents show them."""
    return {
        name: {
            "value": figure(metric.value),
            "lo": figure(metric.lo),
            "hi": figure(metric.hi),
            "n": metric.n,
            "error_bound": figure(metric.error_bound),
        }
        for name, metric in metrics.items()
    }


def _share(
    feature: str, check: str, now: NDArray[np.int64], before: NDArray[np.int64], *, bad: list[int], limit: float
) -> Quality:
    share, usual = (1.0 - counts[bad].sum() / max(int(counts.sum()), 1) for counts in (now, before))
    return Quality(feature, check, float(share), float(min(limit, limit * usual)))


def _median_delay(delays: NDArray[np.int64]) -> float | None:
    total = int(delays.sum())
    if total <= 0:
        return None
    cell = int(np.searchsorted(np.cumsum(delays), (total + 1) // 2))
    return float(DELAYS.lower_edges()[cell]) / 1000.0


def _drift_document(item: FeatureDrift) -> Json:
    drift = item.drift
    return {
        "feature": drift.feature,
        "js": figure(drift.js),
        "effect": figure(drift.effect),
        "psi": figure(drift.psi),
        "psi_null_mean": figure(drift.psi_null_mean),
        "ks": figure(drift.ks),
        "ks_bound": figure(drift.ks_bound),
        "chi2_log_p": figure(drift.log_p),
        "chi2_p": figure(math.exp(drift.log_p)),
        "log_e": figure(item.log_e),
        "log_evidence": figure(item.log_evidence),
    }


def _evidence_document(evidence: Evidence) -> Json:
    return {
        "signal": evidence.signal,
        "baseline": figure(evidence.baseline),
        "observed": figure(evidence.observed),
        "log_evidence": figure(evidence.log_evidence),
        "threshold": figure(evidence.threshold),
    }
