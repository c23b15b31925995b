"""The decision rules, one by one."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.core.audit.decisions import AlertState, Policy, RetrainReason, Signal
from millrace.core.audit.drift import Drift
from millrace.core.audit.layout import COUNTERS
from millrace.core.audit.performance import Metric
from millrace.core.audit.policy import Decision, begin_guarded, close_request, decide
from millrace.core.audit.report import AuditReport, Coverage, Evidence, FeatureDrift, Quality, Subject
from millrace.core.audit.standing import Health, PolicyState
from millrace.core.audit.windows import Stage, Window
from millrace.core.errors import RequestError

HOUR = 3_600_000
POLICY = Policy(cooldown=timedelta(hours=10), request_ttl=timedelta(hours=5), max_requests_per_day=2)
STRONG, WEAK = math.log(1e6), 0.0


def closed(
    hour: int,
    *,
    drift: dict[str, float] | None = None,
    evidence: float = WEAK,
    estimate: float = 0.10,
    quality: bool = True,
) -> AuditReport:
    return AuditReport(
        subject=Subject("loans", 7),
        window=Window(hour * HOUR, (hour + 1) * HOUR),
        stage=Stage.CLOSED,
        revision=0,
        watermark_ms=(hour + 1) * HOUR,
        counts=dict.fromkeys(COUNTERS, 0) | {"predictions": 1000},
        coverage=Coverage(0.0, (None,) * 10, None),
        performance={},
        estimate={"error_rate": Metric(estimate, None, None, 1000)},
        estimate_baseline=0.10,
        drift=[
            FeatureDrift(Drift(name, js, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, evidence) for name, js in (drift or {}).items()
        ],
        quality=[Quality("income", "completeness", 1.0 if quality else 0.2, 0.95)],
        evidence=[Evidence("drift", 0.0, None, evidence, 1e3)],
        reference={},
    )


def mature(hour: int, *, error_rate: float = 0.10, evidence: float = WEAK, labelled: int = 1000) -> AuditReport:
    return replace(
        closed(hour),
        stage=Stage.MATURE,
        counts=dict.fromkeys(COUNTERS, 0) | {"predictions": 1000, "labelled": labelled},
        coverage=Coverage(labelled / 1000, (None,) * 10, 5.0),
        evidence=[Evidence("error_rate", 0.10, error_rate, evidence, 1e4)],
    )


def follow(*reports: AuditReport, policy: Policy = POLICY, state: PolicyState | None = None) -> Decision:
    decision = Decision(state or PolicyState())
    for report in reports:
        decision = decide(decision.state, report, policy)
    return decision


def states(decision: Decision) -> list[tuple[AlertState, Signal, str]]:
    return [(alert.state, alert.signal, alert.feature) for alert in decision.alerts]


def test_a_degraded_version_is_to_be_retrained() -> None:
    decision = follow(mature(0), mature(1, error_rate=0.2, evidence=STRONG))
    assert states(decision) == [(AlertState.RAISED, Signal.PERFORMANCE, "")]
    request = decision.request
    assert request is not None
    assert request.reason is RetrainReason.PERFORMANCE
    assert request.trigger.windows_ms == (HOUR,)
    assert (request.data.from_ms, request.data.to_ms, request.data.labelled) == (0, 2 * HOUR, 2000)
    assert request.alert_ids == (decision.alerts[0].id,)
    assert decision.state.health(2 * HOUR) is Health.RETRAIN_REQUESTED


@pytest.mark.parametrize(
    "report",
    [
        mature(0, error_rate=0.2, evidence=WEAK),
        mature(0, error_rate=0.105, evidence=STRONG),
        replace(mature(0, error_rate=0.2, evidence=STRONG), stage=Stage.PROVISIONAL),
        replace(mature(0, error_rate=0.2, evidence=STRONG), stage=Stage.CLOSED),
        replace(mature(0, error_rate=0.2, evidence=STRONG), stage=Stage.AMENDED),
        replace(mature(0, error_rate=0.2, evidence=STRONG), subject=Subject("loans", 7, "region=eu")),
    ],
    ids=["no evidence", "no effect", "provisional", "closed", "amended", "segment"],
)
def test_less_is_no_reason(report: AuditReport) -> None:
    decision = follow(report)
    assert (decision.request, decision.alerts) == (None, ())


def test_a_window_without_labels_does_not_end_a_degradation() -> None:
    silent = replace(mature(1, labelled=0), evidence=[Evidence("error_rate", 0.10, None, STRONG, 1e4)])
    decision = follow(mature(0, error_rate=0.2), silent, mature(2, error_rate=0.2, evidence=STRONG))
    assert decision.request is not None
    assert decision.request.trigger.windows_ms == (0, 2 * HOUR)
    healthy = follow(mature(0, error_rate=0.2), mature(1), mature(2, error_rate=0.2, evidence=STRONG))
    assert healthy.request is not None
    assert healthy.request.trigger.windows_ms == (2 * HOUR,)


def test_too_few_labels_block() -> None:
    assert follow(mature(0, error_rate=0.2, evidence=STRONG, labelled=10)).blockers == ("min_labels_ok",)


def test_broken_data_alerts_and_blocks() -> None:
    decision = follow(closed(0, quality=False))
    assert states(decision) == [(AlertState.RAISED, Signal.QUALITY, "income")]
    decision = follow(mature(0, error_rate=0.2, evidence=STRONG), state=decision.state)
    assert decision.request is None
    assert decision.blockers == ("quality_ok",)
    assert [signal for _, signal, _ in states(decision)] == [Signal.PERFORMANCE]


def test_broken_data_in_the_deciding_window_blocks_even_after_repair() -> None:
    broken = replace(mature(0, error_rate=0.2, evidence=STRONG), quality=closed(0, quality=False).quality)
    assert follow(broken).blockers == ("quality_ok",)


def test_drift_alone_alerts_and_never_asks_for_retraining() -> None:
    decision = follow(closed(0, drift={"income": 0.2, "age": 0.06, "city": 0.01}, evidence=STRONG))
    assert states(decision) == [
        (AlertState.RAISED, Signal.DRIFT, "income"),
        (AlertState.RAISED, Signal.DRIFT, "age"),
    ]
    again = follow(
        *(closed(hour, drift={"income": 0.2}, evidence=STRONG) for hour in range(1, 9)), state=decision.state
    )
    assert again.request is None
    assert again.state.health(9 * HOUR) is Health.SUSPECT


def test_evidence_without_effect_and_effect_without_evidence_are_no_drift() -> None:
    assert not follow(closed(0, drift={"income": 0.01}, evidence=STRONG)).alerts
    assert not follow(closed(0, drift={"income": 0.9}, evidence=WEAK)).alerts


def test_an_alert_is_cleared_after_quiet_windows_and_doubling_escalates_once() -> None:
    raised = follow(closed(0, drift={"income": 0.1}, evidence=STRONG))
    escalated = follow(closed(1, drift={"income": 0.2}, evidence=STRONG), state=raised.state)
    assert states(escalated) == [(AlertState.ESCALATED, Signal.DRIFT, "income")]
    assert not follow(closed(2, drift={"income": 0.9}, evidence=STRONG), state=escalated.state).alerts
    quiet = [closed(hour, drift={"income": 0.02}) for hour in (2, 3)]
    waiting = follow(*quiet, closed(4, drift={"income": 0.04}), state=escalated.state)
    assert not waiting.alerts
    cleared = follow(closed(5, drift={"income": 0.0}), state=waiting.state)
    assert states(cleared) == [(AlertState.CLEARED, Signal.DRIFT, "income")]
    assert cleared.state.health(6 * HOUR) is Health.HEALTHY


def suspicious(hour: int) -> AuditReport:
    return closed(hour, drift={"income": 0.2}, evidence=STRONG, estimate=0.15)


def test_the_estimate_asks_only_where_labels_do_not_come() -> None:
    assert follow(suspicious(0)).request is None
    unlabelled = follow(mature(0), mature(1, labelled=0), suspicious(2), closed(3), suspicious(4))
    assert unlabelled.request is not None
    assert unlabelled.request.reason is RetrainReason.ESTIMATE_AND_DRIFT
    labelled = follow(mature(0), suspicious(2), closed(3), suspicious(4))
    assert labelled.request is None
    [alert] = [alert for alert in labelled.alerts if alert.signal is Signal.ESTIMATE]
    assert "concept drift" in alert.note


def test_one_request_at_a_time_then_a_cooldown_then_so_many_a_day() -> None:
    def degraded(hour: int) -> AuditReport:
        return mature(hour, error_rate=0.2, evidence=STRONG)

    first = follow(degraded(0))
    assert first.request is not None
    assert follow(degraded(1), state=first.state).blockers == ("cooldown_ok", "no_open_request")
    assert follow(degraded(1), state=close_request(first.state, first.request.loop_id)).blockers == ("cooldown_ok",)
    assert follow(degraded(6), state=first.state).blockers == ("cooldown_ok",)
    second = follow(degraded(11), state=first.state)
    assert second.request is not None
    assert follow(degraded(22), state=close_request(second.state, second.request.loop_id)).blockers == (
        "daily_limit_ok",
    )
    assert follow(degraded(25), state=close_request(second.state, second.request.loop_id)).request is not None


def test_volume_and_schedule_need_no_signal() -> None:
    by_volume = follow(*map(mature, range(3)), policy=replace(POLICY, volume=3000))
    assert by_volume.request is not None
    assert by_volume.request.reason is RetrainReason.VOLUME
    by_time = follow(mature(0), closed(9), policy=replace(POLICY, schedule=timedelta(hours=10)))
    assert by_time.request is not None
    assert by_time.request.reason is RetrainReason.SCHEDULE


def test_events_of_overlapping_windows_are_counted_once() -> None:
    halves = [replace(mature(0), window=Window(half * HOUR // 2, (half + 2) * HOUR // 2)) for half in range(5)]
    assert follow(*halves).state.labelled == 3000
    assert follow(*halves, policy=replace(POLICY, volume=3001)).request is None


def test_a_promoted_version_that_falls_hard_is_to_be_rolled_back() -> None:
    state = begin_guarded(PolicyState(), 0, PolicyState(), previous_baseline=0.10, policy=POLICY)
    decision = follow(mature(0, error_rate=0.16), state=state)
    assert states(decision) == [(AlertState.RAISED, Signal.ROLLBACK_ADVICE, "")]
    assert decision.request is None
    assert not follow(mature(0, error_rate=0.14), state=state).alerts
    assert not follow(mature(30, error_rate=0.16), state=state).alerts


def test_a_version_that_is_better_than_what_it_replaced_needs_no_rollback() -> None:
    """The world has changed: the old version had come to 0.30, far from its baseline."""
    old = follow(mature(0, error_rate=0.30)).state
    state = begin_guarded(PolicyState(), 0, old, previous_baseline=0.0, policy=POLICY)
    assert not follow(mature(0, error_rate=0.20), state=state).alerts
    assert follow(mature(0, error_rate=0.50), state=state).alerts


def test_a_guarded_version_alarms_by_a_hard_fall_alone() -> None:
    state = begin_guarded(PolicyState(), 0, PolicyState(), previous_baseline=0.20, policy=POLICY)
    guarded = follow(mature(0, error_rate=0.2, evidence=STRONG), state=state)
    assert (guarded.alerts, guarded.request) == ((), None)
    after = follow(mature(30, error_rate=0.2, evidence=STRONG), state=state)
    assert after.request is not None


def test_the_same_facts_give_the_same_ids_and_others_do_not() -> None:
    reports = [mature(0), mature(1, error_rate=0.2, evidence=STRONG)]
    a, b = follow(*reports), follow(*reports)
    c = follow(mature(0), mature(2, error_rate=0.2, evidence=STRONG))
    assert a.request is not None
    assert b.request is not None
    assert c.request is not None
    assert a.request.to_dict() == b.request.to_dict()
    assert [alert.id for alert in a.alerts] == [alert.id for alert in b.alerts]
    assert len({a.request.id, a.request.loop_id, c.request.id, c.request.loop_id}) == 4


def test_documents_have_the_agreed_fields() -> None:
    decision = follow(mature(0), mature(1, error_rate=0.2, evidence=STRONG))
    assert decision.request is not None
    document = decision.request.to_dict()
    assert document["type"] == "retrain.requested.v1"
    assert document["blockers_checked"] == [
        "quality_ok",
        "cooldown_ok",
        "no_open_request",
        "daily_limit_ok",
        "min_labels_ok",
    ]
    assert document["not_before"] == "1970-01-01T02:00:00.000Z"
    alert = decision.alerts[0].to_dict()
    assert (alert["state"], alert["signal"], alert["effect"]) == ("raised", "performance", 1.0)
    assert mature(0).to_dict()["window"] == {
        "start": "1970-01-01T00:00:00.000Z",
        "end": "1970-01-01T01:00:00.000Z",
        "size_s": 3600,
    }
    assert closed(0, evidence=math.inf).to_json() == closed(0, evidence=math.inf).to_json()


def test_a_policy_without_sense_is_refused() -> None:
    with pytest.raises(RequestError, match="zero or less"):
        Policy(min_effect=0.0)
    with pytest.raises(RequestError, match="threshold below 1"):
        Policy(drift_threshold_steps=0.1)
