"""Each record once and in order, whatever happens to the workers. A failure prints its seed and its shortest schedule.

Again with `pytest tests/simulation --seed SEED`; more of them with `make simulate SEEDS=2000`.
"""

from collections.abc import Iterable, Sequence, Set
from random import Random
from typing import Any

import pytest

from millrace.core.lane import Delivery, Discard
from millrace.core.records import TopicPartition
from millrace.kafka.lane.group import GroupLane
from millrace.kafka.lane.triage import Recovery, StepError
from millrace.testing.memory import MemoryLog
from millrace_scorer.logic.handovers import Handovers
from tests.simulation.lane.mill import (
    BrokenPromiseError,
    EagerCommitter,
    LateCommitter,
    Mill,
    OpenLoop,
    Promise,
    scoring_loop,
)
from tests.simulation.lane.rollout import RollingMill
from tests.simulation.lane.schedule import Event, draw, shrink, with_rolls


def broken(schedule: Sequence[Event], promise: Promise, open_loop: OpenLoop) -> BrokenPromiseError | None:
    try:
        Mill(promise, open_loop).run(schedule)
    except BrokenPromiseError as error:
        return error
    return None


def first_failure(seeds: Iterable[int], promise: Promise, open_loop: OpenLoop) -> str:
    """The first seed that breaks the promise, with its shortest schedule; empty when all keep it."""
    for seed in seeds:
        schedule = draw(Random(seed))
        if broken(schedule, promise, open_loop) is None:
            continue
        shortest = shrink(schedule, lambda events: broken(events, promise, open_loop) is not None)
        steps = "\n  ".join(map(repr, shortest))
        return f"seed {seed}: {broken(shortest, promise, open_loop)}\n  {steps}"
    return ""


@pytest.mark.parametrize("open_loop", [scoring_loop, LateCommitter, EagerCommitter])
@pytest.mark.parametrize(
    "promise",
    [Promise(), Promise(alternate=False), Promise(Delivery.AT_LEAST_ONCE, Delivery.AT_LEAST_ONCE)],
    ids=["exactly once", "exactly once with one producer", "at least once"],
)
def test_the_promise_is_kept(seeds: range, promise: Promise, open_loop: OpenLoop) -> None:
    assert not first_failure(seeds, promise, open_loop)


def first_rollout_failure(seeds: Iterable[int]) -> str:
    """As `first_failure`, with versions that come and go."""
    for seed in seeds:
        schedule = with_rolls(draw(Random(seed)), Random(seed))
        try:
            RollingMill(Promise()).run(schedule)
        except BrokenPromiseError as error:
            return f"seed {seed}: {error}"
    return ""


def test_no_version_answers_but_those_that_the_handovers_name(seeds: range) -> None:
    assert not first_rollout_failure(seeds[: max(len(seeds) // 4, 1)])


class TestTheSimulationFinds:
    """Every rule of the lane, left out, breaks the promise within a few schedules."""

    @pytest.mark.parametrize("open_loop", [LateCommitter, EagerCommitter], ids=["open", "on its way"])
    def test_a_transaction_that_crosses_a_revoke(self, monkeypatch: pytest.MonkeyPatch, open_loop: OpenLoop) -> None:
        def carry_on(lane: GroupLane, partitions: Set[TopicPartition]) -> None:
            lane._forget(partitions)

        monkeypatch.setattr(GroupLane, "on_revoke", carry_on)
        assert "doubled" in first_failure(range(100), Promise(), open_loop)

    def test_a_transaction_that_outlives_the_one_it_stands_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def only_that_one(lane: GroupLane, error: StepError, seat: Any) -> None:  # noqa: ANN401  # of the lane's own
            seat.clear() if error.recovery is Recovery.REBUILD else seat.abort()

        monkeypatch.setattr(GroupLane, "_take_back_after", only_that_one)
        assert "lost" in first_failure(range(100), Promise(), EagerCommitter)

    def test_going_back_while_a_commit_is_on_its_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def at_once(lane: GroupLane) -> None:
            lane._take_back()
            lane._go_back()

        monkeypatch.setattr(GroupLane, "abort", at_once)
        assert "doubled" in first_failure(range(400), Promise(), EagerCommitter)  # one schedule in a hundred shows it

    def test_outputs_that_overtake_those_of_the_commit_on_its_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(GroupLane, "_await_flush", lambda lane: None)
        assert "out of order" in first_failure(range(100), Promise(), EagerCommitter)

    def test_an_abort_without_going_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stay(lane: GroupLane) -> None:
            lane._pending.clear()
            lane._discard = Discard(everything=True)

        monkeypatch.setattr(GroupLane, "_go_back", stay)
        assert "lost" in first_failure(range(100), Promise(), scoring_loop)

    def test_going_back_before_an_unknown_outcome_is_settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(GroupLane, "_fill_seats", lambda lane: None)
        monkeypatch.setattr(MemoryLog, "committed", lambda log, group, partition: log.group(group).committed(partition))
        assert "doubled" in first_failure(range(100), Promise(), scoring_loop)

    def test_a_handover_that_is_remembered_though_it_was_aborted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Handovers, "forget", lambda handovers, discard: None)
        assert "handovers" in first_rollout_failure(range(100))

    def test_lanes_that_promise_less(self) -> None:
        assert "doubled" in first_failure(range(100), Promise(lanes=Delivery.AT_LEAST_ONCE), scoring_loop)
