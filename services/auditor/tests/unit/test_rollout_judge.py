"""The judge of a rollout: which panes count, when it ends, and what it makes of earlier decisions."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import pytest

from millrace.codec.evidence import PaneEvidence, Progress, Span
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.windows import WindowSpec
from millrace.core.rollout import Outcome, PairCounts, SequentialTest
from millrace_auditor.logic.rollout_documents import (
    Decision,
    Pairing,
    Result,
    RolloutRecord,
    decision_value,
    read_rollout_record,
)
from millrace_auditor.logic.rollout_judge import RolloutJudge, carried_out

MINUTE = 60_000
SPEC = WindowSpec(
    label_horizon=timedelta(minutes=2),
    size=timedelta(minutes=1),
    out_of_orderness=timedelta(0),
    idle_after=timedelta(hours=1),
)
PAIR = Pairing(1, 2)
WINS = {"ties": 10, "champion": 0, "challenger": 10}
LOSSES = {"ties": 10, "champion": 10, "challenger": 0}


def pane(number: int, counts: Mapping[str, int] = WINS, *, partition: int = 0, pairing: Pairing = PAIR) -> PaneEvidence:
    key = PaneKey(pairing.challenger, pairing.champion, number * MINUTE)
    return PaneEvidence(key, partition, Span(0, 1), dict(counts))


def reached(minute: int, partitions: int = 1) -> list[RolloutRecord]:
    return [Progress(partition, minute * MINUTE) for partition in range(partitions)]


def judge(records: Iterable[RolloutRecord] = (), *, partitions: int = 1, alpha: float = 0.01) -> RolloutJudge:
    test = SequentialTest(alpha=alpha, min_pairs=20, max_pairs=200)
    made = RolloutJudge("weather", SPEC, test, partitions=partitions, now_ms=0)
    made.take(records, 0)
    return made


def due(records: Iterable[RolloutRecord], *, partitions: int = 1) -> Decision | None:
    return judge(records, partitions=partitions).due(PAIR, 0)


def test_only_mature_panes_count() -> None:
    assert due([pane(0), *reached(2)]) is None
    found = due([pane(0), *reached(3)])
    assert found is not None
    assert (found.reading.outcome, found.until_ms) == (Outcome.PROMOTE, MINUTE)


def test_a_pane_is_mature_when_it_is_on_every_partition() -> None:
    records: list[RolloutRecord] = [pane(0), Progress(0, 9 * MINUTE)]
    assert due(records, partitions=2) is None
    assert due([*records, Progress(1, 3 * MINUTE)], partitions=2) is not None


def test_panes_are_looked_at_in_the_order_of_event_time_and_the_first_end_is_the_end() -> None:
    worse_first = due([pane(1), pane(0, LOSSES), *reached(9)])
    better_first = due([pane(1, LOSSES), pane(0), *reached(9)])
    assert worse_first is not None
    assert better_first is not None
    assert (worse_first.reading.outcome, better_first.reading.outcome) == (Outcome.ROLL_BACK, Outcome.PROMOTE)


def test_partitions_add_up_and_what_is_read_twice_does_not() -> None:
    halves = [pane(0, {"ties": 5, "champion": 0, "challenger": 5}, partition=p) for p in (0, 1)]
    found = due([*halves, *halves, *reached(3, 2)], partitions=2)
    assert found is not None
    assert found.reading.counts == PairCounts(10, 0, 10)


def test_too_many_pairs_without_a_difference_keep_the_champion() -> None:
    found = due([pane(0, {"ties": 180, "champion": 10, "challenger": 10}), *reached(3)])
    assert found is not None
    assert found.reading.outcome is Outcome.UNDECIDED


def test_pairs_of_other_versions_do_not_count() -> None:
    assert due([pane(0, pairing=Pairing(1, 3)), *reached(3)]) is None


class TestADecisionThatStands:
    RECORDS: Final = (pane(0), *reached(3))

    def decided(self, result: Result) -> tuple[RolloutJudge, Decision]:
        made = judge(self.RECORDS)
        decision = made.due(PAIR, 0)
        assert decision is not None
        made.take([carried_out(decision, result)], 0)
        return made, decision

    @pytest.mark.parametrize("result", [Result.PENDING, Result.PROPOSED])
    def test_is_not_made_again(self, result: Result) -> None:
        made, _ = self.decided(result)
        assert made.due(PAIR, 0) is None
        assert (made.pending is not None) == (result is Result.PENDING)

    @pytest.mark.parametrize("result", [Result.ROLLED_BACK, Result.KEPT, Result.SUPERSEDED])
    def test_lets_the_same_versions_be_tried_again_on_later_events(self, result: Result) -> None:
        made, decision = self.decided(result)
        assert made.due(PAIR, 0) is None
        assert made.counts(PAIR, 0) == PairCounts()
        made.take([pane(1), *reached(4)], 0)
        again = made.due(PAIR, 0)
        assert again is not None
        assert again.until_ms > decision.until_ms

    def test_is_known_to_whoever_reads_the_topic_from_its_beginning(self) -> None:
        _, decision = self.decided(Result.PENDING)
        again = judge([*self.RECORDS, read_rollout_record(decision_value(decision))])
        assert again.pending is not None
        assert again.pending.pairing == PAIR
        assert decision_value(again.pending) == decision_value(decision)
