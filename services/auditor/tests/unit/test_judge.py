"""The judge by values: evidence in, reports out, whatever the order and however often."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from millrace.codec.evidence import PaneEvidence, Progress, Span, pane_value, read_evidence
from millrace.core.audit.columns import LabelledColumns
from millrace.core.audit.decisions import Policy
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey, count_labels, count_predictions
from millrace.core.audit.report import Subject, canonical_json
from millrace.core.audit.watch import Baseline, Watch
from millrace.core.audit.windows import NO_TIME, Stage, WindowSpec
from millrace.core.errors import RequestError
from millrace.core.profile import NumericCells, ReferenceProfile
from millrace.core.signature import Task
from millrace_auditor.logic.judge import Judge, LoopEnd

MINUTE = 60_000
LAYOUT = Layout(Task.BINARY, ("no", "yes"))
SPEC = WindowSpec(
    label_horizon=timedelta(minutes=1),
    size=timedelta(minutes=1),
    out_of_orderness=timedelta(0),
    idle_after=timedelta(1),
)


def judge(partitions: int = 2) -> Judge:
    def watch_of(version: int) -> tuple[Watch, Baseline | None]:
        policy = Policy(cooldown=timedelta(minutes=2), max_requests_per_day=100)
        return Watch(Subject("loans", version), LAYOUT, policy=policy), Baseline(0.1, 0.12)

    return Judge(SPEC, "loans.predictions", partitions, watch_of, now_ms=0)


def pane(minute: int, partition: int, *, right: int, wrong: int = 0) -> PaneEvidence:
    count = right + wrong
    groups, zeros = np.zeros(count, np.intp), np.zeros(count, np.int64)
    scores = np.full((count, 1), 0.9)
    truth = np.r_[np.ones(right), np.zeros(wrong)]
    labelled = LabelledColumns(zeros + 1, zeros + 1, truth, scores, zeros, np.ones(count))
    [predicted] = count_predictions(LAYOUT, scores, np.empty((count, 0), np.uint8), groups, 1)
    [known] = count_labels(LAYOUT, labelled, groups, 1)
    key = PaneKey(7, 0, minute * MINUTE)
    written = pane_value("loans", key, partition, Span(minute * 100, minute * 100 + count), predicted + known)
    evidence = read_evidence(written)
    assert isinstance(evidence, PaneEvidence)
    return evidence


def progress(minutes: float) -> list[Progress]:
    return [Progress(partition, round(minutes * MINUTE)) for partition in (0, 1)]


def reports(judge: Judge) -> list[dict[str, Any]]:
    return [dict(observation.report.to_dict()) for observation in judge.due(0)]


EVIDENCE = (pane(0, 0, right=9, wrong=1), pane(0, 1, right=30), pane(1, 0, right=5), pane(1, 1, right=2, wrong=3))


def test_partitions_are_added_up_and_each_window_is_shown_closed_and_then_mature() -> None:
    watching = judge()
    watching.take([*EVIDENCE, *progress(1)], 0)
    [closed] = reports(watching)
    assert (closed["stage"], closed["counts"]["predictions"], closed["revision"]) == ("closed", 40, 0)
    watching.take(progress(2), 0)
    second, first = reports(watching)
    assert [(r["stage"], r["window"]["start"][14:16]) for r in (second, first)] == [("mature", "00"), ("closed", "01")]
    assert second["performance"]["accuracy"]["value"] == pytest.approx(39 / 40)
    assert second["inputs"] == {"loans.predictions": {"0": (0, 10), "1": (0, 30)}}
    assert reports(watching) == []


def test_order_and_repetition_of_evidence_change_no_byte() -> None:
    written = set()
    for order in permutations(EVIDENCE):
        watching = judge()
        watching.take([*order, *order[:2], *progress(4)], 0)
        written.add(b"\n".join(map(canonical_json, reports(watching))))
    assert len(written) == 1


def test_catching_up_decides_as_being_there() -> None:
    there, late = judge(), judge()
    seen = []
    for minutes in (0.5, 1, 1.5, 2, 2.5, 3):
        there.take([*EVIDENCE, *progress(minutes)], 0)
        seen += reports(there)
    late.take([*EVIDENCE, *progress(3)], 0)
    assert reports(late) == seen
    assert len(seen) == 4


def test_a_pane_that_changes_after_maturity_amends_its_window_once() -> None:
    watching = judge()
    watching.take([*EVIDENCE, *progress(2)], 0)
    reports(watching)
    watching.take([pane(0, 1, right=29, wrong=1)], 0)
    [amended] = reports(watching)
    assert (amended["stage"], amended["revision"]) == ("amended", 2)
    assert amended["performance"]["accuracy"]["value"] == pytest.approx(38 / 40)
    assert reports(watching) == []


def test_a_restored_judge_goes_on_where_the_last_one_was() -> None:
    calm, first, second = judge(), judge(), judge()
    for watching in (calm, first):
        watching.take([*EVIDENCE, *progress(1)], 0)
        reports(watching)
    second.restore(first.dump(), EVIDENCE, 0)
    assert second.dump() == first.dump()
    for watching in (calm, second):
        watching.take(progress(3), 0)
    assert reports(second) == reports(calm)


def test_old_evidence_is_not_reported_again_by_a_restored_judge() -> None:
    first, second = judge(), judge()
    first.take([*EVIDENCE, *progress(60)], 0)
    assert len(reports(first)) == 4
    second.restore(first.dump(), EVIDENCE, 0)
    assert reports(second) == []


def test_a_silent_partition_holds_windows_open_until_it_is_idle() -> None:
    watching = judge()
    watching.take([*EVIDENCE, progress(5)[0]], 0)
    assert reports(watching) == []
    idle = SPEC.idle_after // timedelta(milliseconds=1)
    watching.take([Progress(0, 5 * MINUTE + 1)], idle)
    assert len(list(watching.due(idle))) == 4


def degraded(minutes: range) -> list[PaneEvidence]:
    return [pane(minute, partition, right=100, wrong=200) for minute in minutes for partition in (0, 1)]


def asked(watching: Judge) -> list[str]:
    """The loops of the requests that are made now."""
    return [o.decision.request.loop_id for o in watching.due(0) if o.decision.request is not None]


def test_a_request_is_open_until_its_answer_is_heard() -> None:
    deaf, hearing = judge(), judge()
    for watching in (deaf, hearing):
        watching.take([*degraded(range(6)), *progress(7)], 0)
    [loop_id] = asked(hearing)
    assert asked(deaf) == [loop_id]
    end = LoopEnd(hearing.watermark_ms, loop_id, version=7)
    assert hearing.hear([end]) == [end]
    assert hearing.hear([end]) == []
    for watching in (deaf, hearing):
        watching.take([*degraded(range(6, 12)), *progress(13)], 0)
    assert asked(deaf) == []
    assert len(asked(hearing)) == 1


def test_another_loops_answer_changes_nothing() -> None:
    watching = judge()
    watching.take([*degraded(range(6)), *progress(7)], 0)
    assert len(asked(watching)) == 1
    before = watching.dump()
    assert watching.hear([LoopEnd(watching.watermark_ms, "another", 7), LoopEnd(watching.watermark_ms, "x", 9)]) == []
    assert watching.dump() == before


def test_a_judge_who_begins_again_decides_with_an_answer_where_the_first_one_did() -> None:
    """The second one reads all evidence at once, and is told when the first one heard the answer."""
    evidence, first, second = degraded(range(30)), judge(), judge()
    loops, heard = [], []
    for minute in range(2, 32):
        first.take([*evidence[: 2 * minute], *progress(minute)], 0)
        made = asked(first)
        loops += made
        if minute in {20, 25}:
            heard += first.hear([LoopEnd(first.watermark_ms, loops[-1], 7)])
    assert len(loops) == 3
    assert len(heard) == 2
    second.hear(heard)
    second.take([*evidence, *progress(31)], 0)
    assert asked(second) == loops
    assert second.dump() == first.dump()


def test_an_answer_that_nobody_noted_answers_the_request_when_it_is_made_again() -> None:
    first, second = judge(), judge()
    first.take([*degraded(range(1)), *progress(2)], 0)
    [loop_id] = asked(first)
    assert second.hear([LoopEnd(NO_TIME, loop_id, 7)]) == []
    second.take([*degraded(range(1)), *progress(2)], 0)
    assert asked(second) == [loop_id]
    assert second.hear([]) == []  # there is no event time to note it with
    for watching in (first, second):
        watching.take([*degraded(range(1, 4)), *progress(5)], 0)
    assert asked(first) == []
    assert len(asked(second)) == 1


def test_a_promoted_version_is_guarded_by_the_one_before() -> None:
    watching = judge()
    old = [pane(minute, partition, right=200, wrong=100) for minute in range(6) for partition in (0, 1)]
    watching.take([*old, *progress(7)], 0)
    [loop_id] = asked(watching)
    watching.hear([LoopEnd(watching.watermark_ms, loop_id, 7, promoted=8)])
    new = [replace(each, key=replace(each.key, version=8)) for each in degraded(range(8, 12))]
    watching.take([*new, *progress(14)], 0)
    alerts = [(a.version, a.signal.value) for o in watching.due(0) for a in o.decision.alerts]
    assert alerts == [(8, "rollback_advice")]


def test_a_version_that_was_replaced_is_reported_on_and_decides_nothing_more() -> None:
    replaced, kept = judge(), judge()
    for watching in (replaced, kept):
        watching.take([*degraded(range(6)), *progress(7)], 0)
        [loop_id] = asked(watching)
        promoted = 8 if watching is replaced else None
        watching.hear([LoopEnd(watching.watermark_ms, loop_id, 7, promoted=promoted)])
        watching.take([*degraded(range(7, 12)), *progress(13)], 0)
    after, otherwise = list(replaced.due(0)), list(kept.due(0))
    assert [o.report.window for o in after] == [o.report.window for o in otherwise]
    assert not any(o.decision.alerts or o.decision.request for o in after)
    assert any(o.decision.request for o in otherwise)


def test_a_window_that_begins_before_the_version_did_is_not_whole() -> None:
    """Two panes to the window: of the first one the version has seen the second half only."""
    layout = layout_of_feature()
    spec = replace(SPEC, size=timedelta(minutes=2), hop=timedelta(minutes=1))
    profile = ReferenceProfile(1_000_000, layout.cells)
    watch = Watch(Subject("loans", 7), layout, profile, overlap=2)
    watching = Judge(spec, "loans.predictions", 1, lambda _: (watch, Baseline(0.1, 0.12)), now_ms=0)
    watching.take([drifted_pane(layout, minute) for minute in (5, 6, 7)] + [Progress(0, 8 * MINUTE)], 0)
    closed = [o.report for o in watching.due(0) if o.report.stage is Stage.CLOSED]
    evidence = {report.window.start_ms // MINUTE: report.drift[0].log_evidence for report in closed}
    assert evidence.keys() == {4, 5, 6}
    assert evidence[4] == float("-inf")
    assert min(evidence[5], evidence[6]) > 100


def layout_of_feature() -> Layout:
    return Layout(Task.BINARY, ("no", "yes"), (NumericCells("income", (0.0, 1.0), 2.0, (0, 0, 500_000, 500_000, 0)),))


def drifted_pane(layout: Layout, minute: int) -> PaneEvidence:
    """All values of the feature are in one cell of two that should be equally full."""
    [counted] = count_predictions(layout, np.full((500, 1), 0.9), np.full((500, 1), 2, np.uint8), np.zeros(500, int), 1)
    evidence = read_evidence(pane_value("loans", PaneKey(7, 0, minute * MINUTE), 0, Span(0, 500), counted))
    assert isinstance(evidence, PaneEvidence)
    return evidence


def test_a_restored_judge_remembers_what_it_has_heard() -> None:
    first, second = judge(), judge()
    first.hear([LoopEnd(10 * MINUTE, "later", 7), LoopEnd(NO_TIME, "early", 7)])
    first.take([Progress(0, MINUTE, 17), Progress(1, MINUTE, 4)], 0)
    second.restore(first.dump(), (), 0)
    assert second.dump() == first.dump()
    assert second.next_labels == {0: 17, 1: 4}


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b'{"type": "audit.evidence.v1"}', b'{"type": "x"}'])
def test_what_is_no_evidence_is_refused(value: bytes | None) -> None:
    with pytest.raises(RequestError, match="evidence"):
        read_evidence(value)
