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

from dataclasses import dataclass, replace
from typing import Final

from millrace.core.audit.alerting import update_alerts
from millrace.core.audit.decisions import (
    CHECKS,
    Alert,
    Policy,
    RetrainReason,
    RetrainRequest,
    Signal,
    TrainingData,
    Trigger,
)
from millrace.core.audit.findings import (
    DRIFT_SIGNAL,
    broken_data,
    drifted_features,
    estimate_finding,
    looks_harmful,
    performance_findings,
)
from millrace.core.audit.report import WHOLE, AuditReport, Evidence
from millrace.core.audit.standing import Guard, OpenRequest, PolicyState
from millrace.core.audit.windows import Stage, milliseconds

_DAY_MS: Final = 86_400_000
_MEMORY: Final = 3
"""Closed windows whose suspicion is remembered."""
_TRIGGER_WINDOWS: Final = 100


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
    findings = [*broken_data(report), *drifted_features(report, policy)]
    state = replace(state, suspicions=(*state.suspicions, looks_harmful(report, policy))[-_MEMORY:])
    suspected = sum(state.suspicions) >= policy.suspicions
    if suspected:
        findings.append(estimate_finding(report, policy))
    state, alerts = update_alerts(state, report, findings, policy, of=(Signal.QUALITY, Signal.DRIFT, Signal.ESTIMATE))
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
    findings = performance_findings(state, report, policy)
    state, alerts = update_alerts(state, report, findings, policy, of=(Signal.PERFORMANCE, Signal.ROLLBACK_ADVICE))
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
