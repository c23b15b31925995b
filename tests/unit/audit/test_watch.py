"""A version watched from its windows to decisions; bars 1, 11, 12 and 17."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn import metrics as sk

from millrace.core.audit.columns import Place
from millrace.core.audit.decisions import AlertState, Policy, Signal
from millrace.core.audit.held import HeldEvents
from millrace.core.audit.layout import Layout
from millrace.core.audit.memory import dump_state, load_state
from millrace.core.audit.pane import Pane, count_labels, count_predictions
from millrace.core.audit.partition import PartitionAudit
from millrace.core.audit.report import Subject
from millrace.core.audit.watch import LEARNING_WINDOWS, Baseline, Observation, View, Watch, begin, observe
from millrace.core.audit.windows import Stage, Window, WindowSpec
from millrace.core.errors import RequestError
from millrace.core.profile import NumericCells, ReferenceProfile
from millrace.core.signature import Task
from tests.audit_figures.labels import delayed_accuracy, windows_to_request
from tests.audit_figures.stream import (
    LAYOUT,
    VERSION,
    Events,
    add_labels,
    add_predictions,
    auditor,
    error_stream,
    run,
    watch_of,
)
from tests.unit.audit.test_pane import labelled, one_group

SPEC = WindowSpec(label_horizon=timedelta(minutes=20), size=timedelta(minutes=10), pane=timedelta(minutes=5))
HOUR = 3_600_000


def delayed_stream(seed: int = 1) -> Events:
    rng = np.random.default_rng(seed)
    events = error_stream(rng, np.full(4000, 0.1), delays_ms=rng.integers(0, 1_200_000, 4000))
    never = rng.random(4000) < 0.1
    return replace(events, label_times_ms=np.where(never, -1, events.label_times_ms))


def check_mature_windows(events: Events) -> None:
    """Bar 1: labels come delayed and out of order; every mature window has scikit-learn's metrics."""
    audit = auditor(SPEC, watch_of(), None)
    mature = [o.report for o in run(audit, events, timedelta(minutes=1)) if o.report.stage is Stage.MATURE]
    assert len(mature) == 7
    for report in mature:
        inside = (events.times_ms >= report.window.start_ms) & (events.times_ms < report.window.end_ms)
        known = inside & (events.label_times_ms >= 0)
        truth, score = events.truth[known], events.scores[known]
        assert report.counts["predictions"] == inside.sum()
        assert report.counts["labelled"] == known.sum()
        assert report.counts["expired_unlabelled"] == (inside & ~known).sum()
        found = {name: metric.value for name, metric in report.performance.items()}
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, score > 0.5), abs=1e-12)
        assert found["log_loss"] == pytest.approx(sk.log_loss(truth, score), abs=1e-12)
        assert found["brier"] == pytest.approx(sk.brier_score_loss(truth, score), abs=1e-12)
        bound = report.performance["roc_auc"].error_bound
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, score), abs=bound + 1e-12)


def check_delayed_outcomes() -> None:
    """Bar 12: outcomes decide when labels come; mature windows are right and no earlier one claims to be."""
    found = delayed_accuracy(3, count=15_000)
    mature = [(value, truth, n) for stage, _, value, truth, n in found if stage is Stage.MATURE]
    assert len(mature) == 3
    for value, truth, n in mature:
        assert n == 5000
        assert abs(value - truth) <= 3 * np.sqrt(truth * (1 - truth) / n)
    early = [abs(value - truth) for stage, _, value, truth, _ in found if stage is Stage.CLOSED]
    assert min(early) > 0.05  # what makes the case: before maturity the labelled are not like the rest


def test_bar_1_mature_windows_have_the_metrics_of_scikit_learn() -> None:
    check_mature_windows(delayed_stream())


def test_bar_12_labels_that_depend_on_the_outcome_do_not_mislead_mature_windows() -> None:
    check_delayed_outcomes()


@pytest.fixture(params=["arrival time for event time", "closed for mature"])
def mutation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bar 17: two mistakes that the checks above must find."""
    if request.param == "closed for mature":
        stage = WindowSpec.stage
        matured = {Stage.CLOSED: Stage.MATURE}

        def too_early(spec: WindowSpec, window: Window, watermark_ms: int) -> Stage:
            reached = stage(spec, window, watermark_ms)
            return matured.get(reached, reached)

        monkeypatch.setattr(WindowSpec, "stage", too_early)
    else:
        place = HeldEvents.place

        def by_arrival(held: HeldEvents, slots: np.ndarray, rows: np.ndarray) -> Place:
            return replace(place(held, slots, rows), event_times_ms=held.events["label_time"][slots])

        monkeypatch.setattr(HeldEvents, "place", by_arrival)


@pytest.mark.usefixtures("mutation")
def test_bar_17_a_mistake_in_the_metrics_is_found() -> None:
    with pytest.raises(AssertionError):
        check_mature_windows(delayed_stream())


@pytest.mark.usefixtures("mutation")
def test_bar_17_a_mistake_under_delayed_outcomes_is_found() -> None:
    with pytest.raises(AssertionError):
        check_delayed_outcomes()


def test_bar_11_flipped_labels_prompt_within_a_mature_window_and_clean_ones_do_not() -> None:
    assert windows_to_request(0, flipped=0.4, windows=12, change=8) == 1
    assert windows_to_request(0, flipped=0.0, windows=12, change=8) is None


def test_reports_do_not_depend_on_the_order_of_arrival() -> None:
    events = delayed_stream()
    reports = []
    for tick in (timedelta(minutes=1), timedelta(minutes=3)):
        audit = auditor(SPEC, watch_of(), Baseline.of_errors(500, 5000))
        list(run(audit, events, tick))
        window = Window(0, SPEC.size_ms)
        final = observe(audit.watch, begin(audit.watch, None), View(window, Stage.MATURE, 10**7, audit.panes(window)))
        reports.append(final.report.to_json())
    assert reports[0] == reports[1]


def decisions_of(events: Events, shards: int, order: np.random.Generator) -> list[tuple[bytes, str | None]]:
    """Every mature report and request, from partitions that each took their events in an order of their own."""
    merged: dict[int, Pane] = {}
    for shard in range(shards):
        partition = PartitionAudit(SPEC, {VERSION: LAYOUT})
        rows = order.permutation(np.arange(shard, len(events.times_ms), shards))
        for part in np.array_split(rows, 5):
            add_labels(partition, events, part[part % 2 == 0])  # half of the labels come before their predictions
            add_predictions(partition, events, part)
            add_labels(partition, events, part)  # and those come twice
        for key, pane in partition.panes.items():
            merged[key.start_ms] = merged[key.start_ms] + pane if key.start_ms in merged else pane
    watch, found = watch_of(), []
    state = begin(watch, Baseline.of_errors(500, 5000))
    for start in range(0, int(events.times_ms[-1]) + 1, SPEC.size_ms):
        window = Window(start, start + SPEC.size_ms)
        panes = {pane: merged[pane] for pane in SPEC.panes_of(window) if pane in merged}
        observation = observe(watch, state, View(window, Stage.MATURE, window.end_ms + SPEC.retention_ms, panes))
        state = observation.state
        request = observation.decision.request
        found.append((observation.report.to_json(), None if request is None else request.id))
    return found


def test_bar_4_partitions_and_order_change_no_report_and_ask_once_with_one_id() -> None:
    """Behind the join: the reports' bytes and the request's id."""
    rng = np.random.default_rng(2)
    events = error_stream(rng, np.repeat([0.1, 0.3], 3000), delays_ms=rng.integers(0, 1_200_000, 6000))
    expected = decisions_of(events, 1, rng)
    assert sum(request is not None for _, request in expected) == 1
    for shards in (2, 8):
        assert decisions_of(events, shards, rng) == expected


def test_without_a_baseline_the_first_mature_windows_are_learnt_and_said() -> None:
    audit = auditor(SPEC, watch_of(), None)
    mature = [o.report for o in run(audit, delayed_stream(), timedelta(minutes=1)) if o.report.stage is Stage.MATURE]
    learnt = [report.reference["baseline_learnt"] for report in mature]
    assert learnt == [False] * (LEARNING_WINDOWS - 1) + [True] * (len(mature) - LEARNING_WINDOWS + 1)
    assert mature[-1].evidence_of("error_rate") is not None
    assert mature[0].evidence_of("error_rate") is None


INCOME = NumericCells("income", tuple(map(float, range(10))), 10.0, (0, 0, *[3000] * 10, 0))
AGE = NumericCells("age", tuple(map(float, range(10))), 10.0, (0, 0, *[3000] * 10, 0))
PROFILE = ReferenceProfile(30_000, (INCOME, AGE))
WATCH = Watch(Subject("loans", 1), Layout.of(Task.BINARY, ("no", "yes"), PROFILE), PROFILE)


def input_pane(hour: int, *, income_shift: int = 0, nulls: int = 0) -> Pane:
    """A thousand predictions, uniform over the bins, the income shifted by whole bins."""
    rng = np.random.default_rng(hour)
    digits = (rng.integers(0, 10, (1000, 2)) + 2).astype(np.uint8)
    digits[:, 0] = np.minimum(digits[:, 0] + income_shift, 12)
    digits[:nulls, 1] = 0
    [pane] = count_predictions(WATCH.layout, rng.random((1000, 1)), digits, one_group(1000), 1)
    return pane


def closed_windows(**change: int) -> list[Observation]:
    """Ten windows as the reference, ten changed, twenty as the reference again."""
    state, observations = begin(WATCH, Baseline.of_errors(500, 5000)), []
    for hour in range(40):
        start = hour * HOUR
        pane = input_pane(hour, **(change if 10 <= hour < 20 else {}))
        view = View(Window(start, start + HOUR), Stage.CLOSED, start + HOUR, {start: pane})
        observations.append(observe(WATCH, state, view))
        state = observations[-1].state
    return observations


def test_a_drifting_feature_is_named_first_then_cleared_and_its_evidence_forgotten() -> None:
    observations = closed_windows(income_shift=3)
    alerts = [(hour, a.state, a.feature) for hour, o in enumerate(observations) for a in o.decision.alerts]
    assert [alert[1:] for alert in alerts] == [(AlertState.RAISED, "income"), (AlertState.CLEARED, "income")]
    raised, cleared = (hour for hour, _, _ in alerts)
    assert raised == 10
    assert 22 <= cleared <= 25
    assert observations[10].report.drift[0].drift.feature == "income"
    assert not any(o.decision.request for o in observations)
    assert not observations[cleared].state.drift.log_sums


def test_nulls_are_a_matter_of_quality() -> None:
    observations = closed_windows(nulls=300)
    raised = [alert for alert in observations[10].decision.alerts if alert.signal is Signal.QUALITY]
    assert [(alert.feature, alert.metric) for alert in raised] == [("age", "completeness")]


def test_a_small_reference_asks_for_ten_times_the_evidence() -> None:
    view = View(Window(0, HOUR), Stage.CLOSED, HOUR, {0: input_pane(0)})
    last_season = [np.array([0, 0, *[300] * 10, 0])] * 2
    for references, factor in ((last_season, 10), (None, 1)):
        evidence = observe(WATCH, begin(WATCH, None), replace(view, references=references)).report.evidence_of("drift")
        assert evidence is not None
        assert evidence.threshold == factor * WATCH.policy.drift_threshold_steps


def test_overlapping_windows_are_tried_and_only_the_next_whole_one_is_remembered() -> None:
    watch = replace(WATCH, overlap=2)
    panes = {hour * HOUR: input_pane(hour, income_shift=3 * (hour >= 2)) for hour in range(4)}

    def view(hour: int) -> View:
        window = Window(hour * HOUR, (hour + 2) * HOUR)
        return View(
            window, Stage.CLOSED, window.end_ms, {hour * HOUR + n * HOUR: panes[(hour + n) * HOUR] for n in (0, 1)}
        )

    first = observe(watch, begin(watch, None), view(0))
    second = observe(watch, first.state, view(1))
    assert second.state.drift == first.state.drift
    assert [alert.feature for alert in second.decision.alerts] == ["income"]
    evidence = second.report.evidence_of("drift")
    assert evidence is not None
    assert evidence.threshold == 10 * 2 * watch.policy.drift_threshold_steps
    third = observe(watch, second.state, view(2))
    assert third.state.drift.log_sums != first.state.drift.log_sums


def test_a_regression_is_watched_by_its_absolute_error() -> None:
    layout = Layout(Task.REGRESSION, score_upper=10.0)
    watch = Watch(Subject("price", 1), layout, policy=Policy(metric="mae", label_threshold_steps=100))
    state, requests = begin(watch, Baseline(1.0, 1.05)), []
    rng = np.random.default_rng(5)
    for hour in range(20):
        truth = rng.normal(5, 1, 1000)
        error = rng.laplace(0, 1.0 if hour < 10 else 1.6, 1000)
        [pane] = count_labels(layout, labelled(truth.tolist(), (truth + error).tolist()), one_group(1000), 1)
        [scored] = count_predictions(
            layout, (truth + error)[:, None], np.empty((1000, 0), np.uint8), one_group(1000), 1
        )
        start = hour * HOUR
        view = View(Window(start, start + HOUR), Stage.MATURE, start + HOUR, {start: pane + scored})
        observation = observe(watch, state, view)
        state = observation.state
        requests += [hour] if observation.decision.request else []
    assert requests == [10]


def errors_pane(rng: np.random.Generator, rate: float, count: int) -> Pane:
    scores = np.full(count, 0.9)
    truth = (rng.random(count) > rate).astype(float)
    [known] = count_labels(LAYOUT, labelled(truth.tolist(), scores.tolist()), one_group(count), 1)
    [seen] = count_predictions(LAYOUT, scores[:, None], np.empty((count, 0), np.uint8), one_group(count), 1)
    return known + seen


def segmented_windows(small_rate: float, seed: int) -> list[Observation]:
    """Sixty mature windows of two segments; the small one errs more, and after the thirtieth window so often."""
    watch = Watch(Subject("loans", 1), LAYOUT, policy=Policy(min_effect=0.05))
    rng, state, observations = np.random.default_rng(seed), begin(watch, Baseline.of_errors(1000, 10_000)), []
    for hour in range(60):
        start, rate = hour * HOUR, small_rate if hour >= 30 else 0.2
        segments = {"region=eu": {start: errors_pane(rng, 0.09, 900)}, "region=us": {start: errors_pane(rng, rate, 60)}}
        whole = {start: segments["region=eu"][start] + segments["region=us"][start]}
        view = View(Window(start, start + HOUR), Stage.MATURE, start + HOUR, whole, segments=segments)
        observations.append(observe(watch, state, view))
        state = observations[-1].state
    return observations


def test_a_segment_counts_as_much_as_the_whole_that_hides_it() -> None:
    observations = segmented_windows(0.45, seed=1)
    asked = [hour for hour, o in enumerate(observations) if o.decision.request is not None]
    assert 30 <= asked[0] <= 40
    eu, us = observations[40].segments
    assert (eu.subject.segment, us.subject.segment) == ("region=eu", "region=us")
    assert us.reference["baseline_learnt"]
    assert us.counts["predictions"] + eu.counts["predictions"] == observations[40].report.counts["predictions"]
    assert us.performance["error_rate"].value > 2 * eu.performance["error_rate"].value


def test_segments_of_different_difficulty_raise_no_alarm() -> None:
    for seed in range(5):
        assert not any(o.decision.request or o.decision.alerts for o in segmented_windows(0.2, seed))


def test_evidence_is_the_mean_over_the_whole_and_its_segments() -> None:
    observation = segmented_windows(0.2, seed=1)[33]
    detectors = [observation.state.errors, *(own.errors for own in observation.state.segments.values())]
    sums = [math.exp(detector.log_evidence) for detector in detectors if detector is not None]
    evidence = observation.report.evidence_of("error_rate")
    assert evidence is not None
    assert len(sums) == 3
    assert evidence.log_evidence == pytest.approx(math.log(sum(sums) / 3))


def test_a_restart_keeps_what_segments_have_learnt() -> None:
    data = b""
    for observation in segmented_windows(0.45, seed=1)[:34]:
        data = dump_state(observation.state)
        assert dump_state(load_state(data, LAYOUT)) == data
    assert load_state(data, LAYOUT).segments["region=us"].baseline is not None


def test_a_policy_for_another_task_is_refused() -> None:
    with pytest.raises(RequestError, match="watches"):
        Watch(Subject("loans", 1), LAYOUT, policy=Policy(metric="mae"))
