"""Alerts: raised for what is found, escalated where it has doubled, cleared after a time of quiet."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from millrace.core.audit.decisions import Alert, AlertState, OpenAlert, Policy, Signal
from millrace.core.audit.findings import Finding, effects_of, floor_of
from millrace.core.audit.report import AuditReport
from millrace.core.audit.standing import PolicyState

_NEWS: Final = (AlertState.RAISED, AlertState.ESCALATED, AlertState.CLEARED)


def update_alerts(
    state: PolicyState,
    report: AuditReport,
    findings: Sequence[Finding],
    policy: Policy,
    *,
    of: tuple[Signal, ...],
) -> tuple[PolicyState, tuple[Alert, ...]]:
    """Raise what is found, escalate what has doubled, clear what has been quiet for long enough.

    Args:
        state: What is remembered of the version.
        report: The report that says so.
        findings: What it shows.
        policy: Floors, and after how many quiet windows an alert is cleared.
        of: The signals that a report of this stage can speak of; alerts of others stay as they are.

    Returns:
        What is remembered from now on, and the changes, in the order in which to publish them.
    """
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
    now = effects_of(report, policy)
    for key in [key for key in still if key[0] in of and key not in found]:
        effect, floor = now.get(key, 0.0), floor_of(key[0], policy)
        # Between half the floor and the floor an alert neither counts as quiet nor starts to count again.
        quiet = still[key].quiet_windows + (effect < floor / 2 or floor == 0.0)
        still[key] = replace(still[key], quiet_windows=quiet)
        if quiet >= policy.clear_after:
            del still[key]
            alerts.append(_alert(AlertState.CLEARED, report, Finding(*key, effect, floor)))
    # What is new comes before what has grown: a feature that has drifted for years must not hide the next one.
    alerts.sort(key=lambda alert: _NEWS.index(alert.state))
    return replace(state, alerts=still), tuple(alerts)


def _alert(state: AlertState, report: AuditReport, finding: Finding) -> Alert:
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
