"""Counting pairs: labels before, after, corrected and taken back; classes and numbers."""

from datetime import timedelta

import numpy as np
import pytest

from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.join import Join
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.windows import WindowSpec
from millrace.core.rollout import PairCounts
from millrace.core.signature import Task
from millrace_auditor.logic.pairs import ANSWERS, PairAudit

SPEC = WindowSpec(label_horizon=timedelta(hours=1), size=timedelta(minutes=1), correction_horizon=timedelta(hours=1))
NO_BINS = np.empty((0, 0), np.uint8)
DAY_MS = 86_400_000
KEY = PaneKey(version=2, segment=1, start_ms=0)


def audit(task: Task = Task.BINARY) -> PairAudit:
    return PairAudit(task, SPEC, Join(SPEC, score_columns=ANSWERS))


def pairs(answers: list[tuple[float, float]], *, at_ms: int = 0) -> Predictions:
    count = len(answers)
    return Predictions(
        [b"event-%d" % number for number in range(count)],
        np.full(count, at_ms, np.int64),
        np.full(count, 2, np.int64),
        np.full(count, 1, np.int64),
        np.zeros(count, np.int64),
        np.array(answers, np.float64),
    )


def labels(truths: list[float], *, revision: int = 0, retracted: bool = False) -> Labels:
    count = len(truths)
    return Labels(
        [b"event-%d" % number for number in range(count)],
        np.array(truths, np.float64),
        np.full(count, 1_000, np.int64),
        np.full(count, revision, np.int64),
        np.full(count, retracted, np.bool_),
    )


ANSWERED = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
"""Both say 0; the challenger alone says 1; the champion alone does; both do."""


@pytest.mark.parametrize("labels_first", [False, True])
def test_labels_before_and_after_count_alike(labels_first: bool) -> None:
    counted = audit()
    if labels_first:
        counted.add_labels(labels([1.0] * 4))
    counted.add_predictions(pairs(ANSWERED), NO_BINS)
    if not labels_first:
        counted.add_labels(labels([1.0] * 4))
    assert counted.take_changed() == {KEY: PairCounts(ties=2, champion=1, challenger=1)}
    assert counted.take_changed() == {}


def test_a_correction_moves_a_pair_and_a_retraction_takes_it_away() -> None:
    counted = audit()
    counted.add_predictions(pairs([(0.0, 1.0)]), NO_BINS)
    counted.add_labels(labels([1.0]))
    counted.add_labels(labels([0.0], revision=1))
    assert counted.panes == {KEY: PairCounts(champion=1)}
    counted.add_labels(labels([0.0], revision=2, retracted=True))
    assert counted.panes == {KEY: PairCounts()}


def test_numbers_are_compared_by_their_distance() -> None:
    counted = audit(Task.REGRESSION)
    counted.add_predictions(pairs([(1.0, 2.0), (5.0, 2.0), (4.0, 2.0)]), NO_BINS)
    counted.add_labels(labels([1.2, 3.0, 3.0]))
    assert counted.panes == {KEY: PairCounts(ties=1, champion=1, challenger=1)}


def test_a_label_that_is_no_class_makes_no_pair() -> None:
    counted = audit()
    counted.add_predictions(pairs([(0.0, 1.0)]), NO_BINS)
    counted.add_labels(labels([-1.0]))
    assert counted.panes == {}


class TestLabelsOfNoPair:
    """A canary's labels are mostly about other events, and years of them may lie before a rollout."""

    @staticmethod
    def held_after(label_ms: int, *, pair_ms: int | None) -> int:
        counted = audit()
        if pair_ms is not None:
            counted.add_predictions(pairs([(0.0, 1.0)], at_ms=pair_ms), NO_BINS)
        before = len(counted.join)
        other = labels([1.0])
        times = np.full(1, label_ms, np.int64)
        counted.add_labels(Labels([b"another"], other.labels, times, other.revisions, other.retracted))
        return len(counted.join) - before

    def test_are_dropped_when_they_are_older_than_the_newest_pair(self) -> None:
        assert self.held_after(DAY_MS - 10_000, pair_ms=DAY_MS) == 0

    def test_wait_when_the_pairs_may_still_come_to_them(self) -> None:
        assert self.held_after(DAY_MS + 10_000, pair_ms=DAY_MS) == 1

    def test_are_dropped_when_they_are_far_ahead_of_the_pairs(self) -> None:
        assert self.held_after(DAY_MS + 3_700_000, pair_ms=DAY_MS) == 0

    def test_wait_for_the_first_pair_but_not_for_ever(self) -> None:
        counted = audit()
        counted.add_labels(labels([1.0]))
        assert len(counted.join) == 1
        later = np.full(1, DAY_MS, np.int64)
        counted.add_labels(Labels([b"later"], np.ones(1), later, np.zeros(1, np.int64), np.zeros(1, np.bool_)))
        assert len(counted.join) == 1
