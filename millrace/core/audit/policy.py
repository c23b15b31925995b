"""The decision rules: one report after the other makes alerts and retrain requests of what was measured.

The rules, in the order in which they are applied:

1. Broken data alerts and blocks retraining: never learn from it.
2. Performance on a *mature* window asks for retraining: enough evidence, enough effect, enough labels.
3. Estimated performance on *closed* windows, together with drift, is a suspicion; it asks for retraining only where
   labels do not come.
4. Drift alone alerts, and never asks for retraining.
5. Volume and schedule ask for retraining without any signal.

A provisional window decides nothing, and an amended one changes a report but no decision. State belongs to one version:
a promoted version begins afresh, guarded for a while against a hard fall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from millrace.core.audit.decisions import (
    CHECKS,
    Alert,
    AlertKey,
    AlertState,
    OpenAlert,
    Policy,
    RetrainReason,
    RetrainRequest,
    Signal,
    TrainingData,
    Trigger,
)
from millrace.core.audit.estimate import LIMITS
from millrace.core.audit.report import WHOLE, AuditReport, Evidence
from millrace.core.audit.windows import NO_TIME, Stage, milliseconds

DRIFT_SIGNAL: Final = "drift"

_DAY_MS: Final = 86_400_000
_MEMORY: Final = 3
"""Closed windows whose suspicion is remembered."""
_TRIGGER_WINDOWS: Final = 100
_NEWS: Final = (AlertState.RAISED, AlertState.ESCALATED, AlertState.CLEARED)


class Health(StrEnum):
    """One word for the state of a version."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DEGRADED = "degraded"
    RETRAIN_REQUESTED = "retrain_requested"
    COOLDOWN = "cooldown"


@dataclass(frozen=True, slots=True)
class Guard:
    """The time after a promotion: until when, and what the previous version was good for.

    That is its baseline, or what it had come to if that is worse: to roll back to it would not help.
    """

    until_ms: int
    baseline: float


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that nobody has answered yet: its loop, and until when it counts as open."""

    loop_id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the rules remember about one model version.

    Attributes:
        alerts: Alerts that are raised.
        suspicions: Whether each of the last closed windows was suspicious by estimate and drift, newest last.
        degraded_ms: Starts of the latest mature windows in a row whose effect was large enough.
        open_request: The request that waits for its answer; None where none does.
        requests_ms: When requests were made in the last day.
        cooldown_until_ms: Before this time there is no further request.
        from_ms: Start of the first mature window; None before there is one.
        predictions: Predictions in mature windows; those of overlapping windows once.
        labelled: Labelled events in them.
        counted_until_ms: End of the last window that these two count.
        labelled_at_request: How many of them there were at the last request.
        since_ms: When this version, or the time since its last request, began.
        has_labels: Whether the newest mature window had labels enough.
        observed: The watched metric in the newest mature window with labels; None before there is one.
        guard: The guard period after a promotion.
    """

    alerts: Mapping[AlertKey, OpenAlert] = field(default_factory=dict)
    suspicions: tuple[bool, ...] = ()
    degraded_ms: tuple[int, ...] = ()
    open_request: OpenRequest | None = None
    requests_ms: tuple[int, ...] = ()
    cooldown_until_ms: int = NO_TIME
    from_ms: int | None = None
    predictions: int = 0
    labelled: int = 0
    counted_until_ms: int = NO_TIME
    labelled_at_request: int = 0
    since_ms: int | None = None
    has_labels: bool = False
    observed: float | None = None
    guard: Guard | None = None

    def has_open_request(self, at_ms: int) -> bool:
        """Whether a request waits for its answer at this event time."""
        return self.open_request is not None and at_ms < self.open_request.until_ms

    def health(self, at_ms: int) -> Health:
        """One word for it, at this event time."""
        if self.has_open_request(at_ms):
            return Health.RETRAIN_REQUESTED
        if at_ms < self.cooldown_until_ms:
            return Health.COOLDOWN
        if any(key[0] is Signal.PERFORMANCE for key in self.alerts):
            return Health.DEGRADED
        return Health.SUSPECT if self.alerts else Health.HEALTHY


@dataclass(frozen=True, slots=True)
class Decision:
    """What one report led to.

    Attributes:
        state: What the rules remember from now on.
        alerts: Changes of alerts, in the order in which to publish them.
        request: The request for a better version, where there is one.
        blockers: Names of the checks that kept a wanted request from being made.
    """

    state: PolicyState
    alerts: tuple[Alert, ...] = ()
    request: RetrainRequest | None = None
    blockers: tuple[str, ...] = ()


def decide(state: PolicyState, report: AuditReport, policy: Policy) -> Decision:
    """Apply the rules to the next report of a version. Reports of segments explain, and decide nothing."""
    if report.subject.segment != WHOLE:
        return Decision(state)
    state = replace(state, since_ms=report.window.start_ms if state.since_ms is None else state.since_ms)
    if report.stage is Stage.CLOSED:
        return _decide_closed(state, report, policy)
    if report.stage is Stage.MATURE:
        return _decide_mature(state, report, policy)
    return Decision(state)


def close_request(state: PolicyState, loop_id: str) -> PolicyState:
    """The trainer has ended a loop, in whatever way; nothing changes unless it is the one that is waited for."""
    is_ours = state.open_request is not None and state.open_request.loop_id == loop_id
    return replace(state, open_request=None) if is_ours else state


def begin_guarded(
    state: PolicyState, at_ms: int, previous: PolicyState, previous_baseline: float, policy: Policy
) -> PolicyState:
    """The state of a version that was just promoted over another, given what is remembered of that one."""
    worst = max(previous_baseline, previous.observed or 0.0)
    return replace(state, guard=Guard(at_ms + milliseconds(policy.guard), worst))


def _decide_closed(state: PolicyState, report: AuditReport, policy: Policy) -> Decision:
    findings = [*_broken_data(report), *_drifted_features(report, policy)]
    is_suspicious = _is_suspicious(report, policy)
    state = replace(state, suspicions=(*state.suspicions, is_suspicious)[-_MEMORY:])
    suspected = sum(state.suspicions) >= policy.suspicions
    if suspected:
        findings.append(_estimate_finding(report, policy))
    state, alerts = _update_alerts(state, report, findings, policy, of=(Signal.QUALITY, Signal.DRIFT, Signal.ESTIMATE))
    if suspected and not state.has_labels:
        evidence = report.evidence_of(DRIFT_SIGNAL)
        return _request(
            state, report, policy, alerts, reason=RetrainReason.ESTIMATE_AND_DRIFT, trigger=_trigger(state, evidence)
        )
    if policy.schedule is not None and report.watermark_ms - (state.since_ms or 0) >= milliseconds(policy.schedule):
        return _request(state, report, policy, alerts, reason=RetrainReason.SCHEDULE, trigger=Trigger("schedule"))
    return Decision(state, alerts)


def _decide_mature(state: PolicyState, report: AuditReport, policy: Policy) -> Decision:
    evidence = report.evidence_of(policy.metric)
    effect = 0.0 if evidence is None else evidence.effect
    degraded, observed = state.degraded_ms, state.observed
    if evidence is not None and evidence.observed is not None:  # a window without labels says nothing
        observed = evidence.observed
        degraded = (*degraded, report.window.start_ms)[-_TRIGGER_WINDOWS:] if effect >= policy.min_effect else ()
    state = replace(
        _count(state, report),
        from_ms=report.window.start_ms if state.from_ms is None else state.from_ms,
        has_labels=report.coverage.overall >= policy.min_coverage,
        degraded_ms=degraded,
        observed=observed,
    )
    if _is_guarded(state, report):
        findings = _hard_fall(state, evidence, report, policy)
    elif evidence is not None and evidence.is_alarm and effect >= policy.min_effect:
        findings = [_Finding(Signal.PERFORMANCE, "", policy.metric, effect, policy.min_effect, evidence)]
    else:
        findings = []
    quiet = {(Signal.PERFORMANCE, "", policy.metric): effect}
    state, alerts = _update_alerts(
        state, report, findings, policy, of=(Signal.PERFORMANCE, Signal.ROLLBACK_ADVICE), effects=quiet
    )
    if any(finding.signal is Signal.PERFORMANCE for finding in findings):
        return _request(
            state, report, policy, alerts, reason=RetrainReason.PERFORMANCE, trigger=_trigger(state, evidence)
        )
    if policy.volume is not None and state.labelled - state.labelled_at_request >= policy.volume:
        return _request(state, report, policy, alerts, reason=RetrainReason.VOLUME, trigger=Trigger("volume"))
    return Decision(state, alerts)


def _count(state: PolicyState, report: AuditReport) -> PolicyState:
    """What there is to train on. Events of overlapping windows are counted once."""
    if report.window.start_ms < state.counted_until_ms:
        return state
    return replace(
        state,
        predictions=state.predictions + report.counts["predictions"],
        labelled=state.labelled + report.counts["labelled"],
        counted_until_ms=report.window.end_ms,
    )


@dataclass(frozen=True, slots=True)
class _Finding:
    signal: Signal
    feature: str
    metric: str
    effect: float
    floor: float
    evidence: Evidence | None = None
    note: str = ""

    @property
    def key(self) -> AlertKey:
        return self.signal, self.feature, self.metric


def _broken_data(report: AuditReport) -> list[_Finding]:
    return [
        _Finding(Signal.QUALITY, check.feature, check.check, check.limit - check.value, 0.0)
        for check in report.quality
        if not check.is_ok
    ]


def _drifted_features(report: AuditReport, policy: Policy) -> list[_Finding]:
    """Features that drifted by enough, largest effect first, once the evidence of all together is enough."""
    evidence = report.evidence_of(DRIFT_SIGNAL)
    if evidence is None or not evidence.is_alarm:
        return []
    return [
        _Finding(
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


def _is_suspicious(report: AuditReport, policy: Policy) -> bool:
    evidence = report.evidence_of(DRIFT_SIGNAL)
    return evidence is not None and evidence.is_alarm and _estimated_effect(report) >= policy.min_effect


def _estimated_effect(report: AuditReport) -> float:
    if not report.estimate or not report.estimate_baseline:
        return 0.0
    return report.estimate["error_rate"].value / report.estimate_baseline - 1.0


def _estimate_finding(report: AuditReport, policy: Policy) -> _Finding:
    effect, evidence = _estimated_effect(report), report.evidence_of(DRIFT_SIGNAL)
    return _Finding(Signal.ESTIMATE, "", "error_rate", effect, policy.min_effect, evidence, LIMITS)


def _is_guarded(state: PolicyState, report: AuditReport) -> bool:
    """Whether the window lies in the time after a promotion in which only a hard fall counts."""
    return state.guard is not None and report.window.end_ms <= state.guard.until_ms


def _hard_fall(state: PolicyState, evidence: Evidence | None, report: AuditReport, policy: Policy) -> list[_Finding]:
    """Advice to roll back: a guarded version that is far worse than the one before it."""
    guard = state.guard
    if guard is None or evidence is None:
        return []
    fall = replace(evidence, baseline=guard.baseline)
    if report.counts["labelled"] < policy.min_samples or fall.effect < policy.hard_fall:
        return []
    note = "the version is far worse than the one before it: roll back with `millrace model rollback`"
    return [_Finding(Signal.ROLLBACK_ADVICE, "", policy.metric, fall.effect, policy.hard_fall, fall, note)]


def _update_alerts(
    state: PolicyState,
    report: AuditReport,
    findings: Sequence[_Finding],
    policy: Policy,
    *,
    of: tuple[Signal, ...],
    effects: Mapping[AlertKey, float] | None = None,
) -> tuple[PolicyState, tuple[Alert, ...]]:
    """Raise what is found, escalate what has doubled, clear what has been quiet for long enough."""
    alerts: list[Alert] = []
    still = dict(state.alerts)
    for finding in findings:
        before = still.get(finding.key)
        if before is None:
            alert = _alert(AlertState.RAISED, report, finding)
            still[finding.key] = OpenAlert(finding.effect, alert.id)
            alerts.append(alert)
        elif finding.effect >= 2 * before.effect and not before.is_escalated:
            still[finding.key] = replace(before, quiet_windows=0, is_escalated=True)
            alerts.append(_alert(AlertState.ESCALATED, report, finding))
        else:
            still[finding.key] = replace(before, quiet_windows=0)
    found = {finding.key for finding in findings}
    now = {**_effects(report), **(effects or {})}
    for key in [key for key in still if key[0] in of and key not in found]:
        effect, floor = now.get(key, 0.0), _floor(key[0], policy)
        # Between half the floor and the floor an alert neither counts as quiet nor starts to count again.
        quiet = still[key].quiet_windows + (effect < floor / 2 or floor == 0.0)
        still[key] = replace(still[key], quiet_windows=quiet)
        if quiet >= policy.clear_after:
            del still[key]
            alerts.append(_alert(AlertState.CLEARED, report, _Finding(*key, effect, floor)))
    # What is new comes before what has grown: a feature that has drifted for years must not hide the next one.
    alerts.sort(key=lambda alert: _NEWS.index(alert.state))
    return replace(state, alerts=still), tuple(alerts)


def _effects(report: AuditReport) -> dict[AlertKey, float]:
    """The effect of every signal of a closed window, found or not."""
    drift: dict[AlertKey, float] = {
        (Signal.DRIFT, item.drift.feature, "js"): item.drift.effect for item in report.drift
    }
    return {**drift, (Signal.ESTIMATE, "", "error_rate"): _estimated_effect(report)}


def _floor(signal: Signal, policy: Policy) -> float:
    floors = {Signal.DRIFT: policy.drift_floor, Signal.QUALITY: 0.0, Signal.ROLLBACK_ADVICE: policy.hard_fall}
    return floors.get(signal, policy.min_effect)


def _alert(state: AlertState, report: AuditReport, finding: _Finding) -> Alert:
    evidence = finding.evidence
    return Alert(
        state=state,
        signal=finding.signal,
        model=report.subject.model,
        version=report.subject.version,
        feature=finding.feature,
        metric=finding.metric,
        window_start_ms=report.window.start_ms,
        window_end_ms=report.window.end_ms,
        effect=finding.effect,
        log_evidence=float("-inf") if evidence is None else evidence.log_evidence,
        threshold=0.0 if evidence is None else evidence.threshold,
        report_id=report.id,
        note=finding.note,
    )


def _trigger(state: PolicyState, evidence: Evidence | None) -> Trigger:
    if evidence is None:
        return Trigger(DRIFT_SIGNAL)
    return Trigger(
        evidence.signal,
        evidence.baseline,
        evidence.observed,
        evidence.log_evidence,
        evidence.threshold,
        state.degraded_ms,
    )


def _request(
    state: PolicyState,
    report: AuditReport,
    policy: Policy,
    alerts: tuple[Alert, ...],
    *,
    reason: RetrainReason,
    trigger: Trigger,
) -> Decision:
    """Ask for a better version, unless something forbids it."""
    at_ms = report.watermark_ms
    recent = tuple(request for request in state.requests_ms if request > at_ms - _DAY_MS)
    passed = (
        not any(key[0] is Signal.QUALITY for key in state.alerts) and all(check.is_ok for check in report.quality),
        at_ms >= state.cooldown_until_ms,
        not state.has_open_request(at_ms),
        len(recent) < policy.max_requests_per_day,
        state.labelled >= policy.min_samples,
    )
    blockers = tuple(name for name, is_ok in zip(CHECKS, passed, strict=True) if not is_ok)
    if blockers:
        return Decision(state, alerts, None, blockers)
    request = RetrainRequest(
        model=report.subject.model,
        version=report.subject.version,
        reason=reason,
        trigger=trigger,
        alert_ids=tuple(alert.alert_id for _, alert in sorted(state.alerts.items())),
        data=TrainingData(
            from_ms=report.window.start_ms if state.from_ms is None else state.from_ms,
            to_ms=report.window.end_ms,
            labelled=state.labelled,
            coverage=state.labelled / state.predictions if state.predictions else 0.0,
            by_score_bin=report.coverage.by_score_bin,
        ),
        at_ms=at_ms,
        expires_ms=at_ms + milliseconds(policy.request_ttl),
        policy_id=policy.id,
    )
    asked = replace(
        state,
        open_request=OpenRequest(request.loop_id, request.expires_ms),
        requests_ms=(*recent, at_ms),
        cooldown_until_ms=at_ms + milliseconds(policy.cooldown),
        labelled_at_request=state.labelled,
        since_ms=at_ms,
    )
    return Decision(asked, alerts, request)
