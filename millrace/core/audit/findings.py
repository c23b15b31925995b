"""What the rules find in one report: broken data, drifted features, suspicions, a hard fall; each with its size."""

from dataclasses import dataclass, replace
from typing import Final

from millrace.core.audit.decisions import AlertKey, Policy, Signal
from millrace.core.audit.estimate import LIMITS
from millrace.core.audit.report import AuditReport, Evidence
from millrace.core.audit.standing import Guard, PolicyState

DRIFT_SIGNAL: Final = "drift"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a report shows, how large it is, and from what size on it counts."""

    signal: Signal
    feature: str
    metric: str
    effect: float
    floor: float
    evidence: Evidence | None = None
    note: str = ""

    @property
    def key(self) -> AlertKey:
        """Which alert it raises or keeps."""
        return self.signal, self.feature, self.metric


def broken_data(report: AuditReport) -> list[Finding]:
    """Checks of quality that failed."""
    return [
        Finding(Signal.QUALITY, check.feature, check.check, check.limit - check.value, 0.0)
        for check in report.quality
        if not check.is_ok
    ]


def drifted_features(report: AuditReport, policy: Policy) -> list[Finding]:
    """Features that drifted by enough, largest effect first, once the evidence of all together is enough."""
    evidence = report.evidence_of(DRIFT_SIGNAL)
    if evidence is None or not evidence.is_alarm:
        return []
    return [
        Finding(
            Signal.DRIFT,
            item.drift.feature,
            "js",
            item.drift.effect,
            policy.drift_floor,
            replace(evidence, log_evidence=item.log_evidence),
        )
        for item in sorted(report.drift, key=lambda item: -item.drift.effect)
        if item.drift.effect >= policy.drift_floor and replace(evidence, log_evidence=item.log_evidence).is_alarm
    ]


def looks_harmful(report: AuditReport, policy: Policy) -> bool:
    """Whether features drifted and the estimate says that it harms."""
    evidence = report.evidence_of(DRIFT_SIGNAL)
    return evidence is not None and evidence.is_alarm and _estimated_effect(report) >= policy.min_effect


def _estimated_effect(report: AuditReport) -> float:
    if not report.estimate or not report.estimate_baseline:
        return 0.0
    return report.estimate["error_rate"].value / report.estimate_baseline - 1.0


def estimate_finding(report: AuditReport, policy: Policy) -> Finding:
    """The suspicion of a closed window, with the limits of estimates."""
    effect, evidence = _estimated_effect(report), report.evidence_of(DRIFT_SIGNAL)
    return Finding(Signal.ESTIMATE, "", "error_rate", effect, policy.min_effect, evidence, LIMITS)


def performance_findings(state: PolicyState, report: AuditReport, policy: Policy) -> list[Finding]:
    """A mature window with too many errors; in the time after a promotion only a hard fall counts."""
    evidence = report.evidence_of(policy.metric)
    if evidence is None:
        return []
    if state.guard is not None and report.window.end_ms <= state.guard.until_ms:
        return _hard_falls(state.guard, evidence, report, policy)
    if evidence.is_alarm and evidence.effect >= policy.min_effect:
        return [Finding(Signal.PERFORMANCE, "", policy.metric, evidence.effect, policy.min_effect, evidence)]
    return []


def _hard_falls(guard: Guard, evidence: Evidence, report: AuditReport, policy: Policy) -> list[Finding]:
    """Advice to roll back: a guarded version that is far worse than the one before it."""
    fall = replace(evidence, baseline=guard.baseline)
    if report.counts["labelled"] < policy.min_samples or fall.effect < policy.hard_fall:
        return []
    note = "the version is far worse than the one before it: roll back with `millrace model rollback`"
    return [Finding(Signal.ROLLBACK_ADVICE, "", policy.metric, fall.effect, policy.hard_fall, fall, note)]


def effects_of(report: AuditReport, policy: Policy) -> dict[AlertKey, float]:
    """The effect of every signal of a window, found or not."""
    drift: dict[AlertKey, float] = {
        (Signal.DRIFT, item.drift.feature, "js"): item.drift.effect for item in report.drift
    }
    measured = report.evidence_of(policy.metric)
    return {
        **drift,
        (Signal.ESTIMATE, "", "error_rate"): _estimated_effect(report),
        (Signal.PERFORMANCE, "", policy.metric): 0.0 if measured is None else measured.effect,
    }


def floor_of(signal: Signal, policy: Policy) -> float:
    """The effect below which this signal does not count."""
    floors = {Signal.DRIFT: policy.drift_floor, Signal.QUALITY: 0.0, Signal.ROLLBACK_ADVICE: policy.hard_fall}
    return floors.get(signal, policy.min_effect)
