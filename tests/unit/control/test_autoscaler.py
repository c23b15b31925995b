"""Single decisions; whole surges are in tests/simulation/scaling."""

from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.core.control.autoscaler import START_LIMIT, decide_scale
from millrace.core.control.demand import Demand, measured_capacity
from millrace.core.control.scaling import Decision, Hold, Step
from millrace.core.errors import RequestError
from tests.unit.control.story import LATE, POLICY, Story


def step(decision: Decision) -> Step:
    assert isinstance(decision, Step), decision
    return decision


def hold(decision: Decision) -> Hold:
    assert isinstance(decision, Hold), decision
    return decision


def test_nothing_is_decided_from_nothing() -> None:
    assert decide_scale(POLICY, []) == Hold("nothing was observed yet")


def test_what_is_met_stays_and_says_how_it_stands() -> None:
    why = hold(Story().went(10, came=60, done=60, scorers=1).decides()).why
    assert why == "p99 latency 80 ms, the goal 500 ms; 60 records/s come; one scorer does 100"


def test_a_step_up_is_as_large_as_the_load_and_names_the_latency() -> None:
    story = Story().went(5, came=60, done=60, scorers=1).went(3, came=300, done=100, scorers=1, latency=LATE)
    found = step(story.decides())
    assert found.replicas == 4
    assert found.why.startswith("p99 latency 3.0 s, the goal 500 ms; 300 records/s come; one scorer does 100; 6")
    assert found.why.endswith("wait, more than can be drained")


def test_a_number_that_takes_no_load_off_the_busiest_scorer_is_passed_over() -> None:
    shares = [Demand(0, 0, 0, 0, partitions=4).busiest_share(count) for count in (2, 3, 4)]
    assert shares == [0.5, 0.5, 0.25], "of four partitions, three scorers help as little as two"


def test_one_late_moment_is_no_reason() -> None:
    story = Story().went(8, came=60, done=60, scorers=1).went(1, came=60, done=60, scorers=1, latency=LATE)
    hold(story.decides())


def test_a_goal_that_is_missed_without_a_backlog_is_answered_by_the_next_number_that_helps() -> None:
    for scorers, more in ((1, 2), (2, 4)):
        story = Story().went(10, came=60, done=60, scorers=scorers, latency=LATE)
        assert step(story.decides()).replicas == more


def test_nothing_more_is_asked_for_while_scorers_start() -> None:
    story = Story().went(5, came=60, done=60, scorers=1).went(3, came=300, done=100, scorers=1, latency=LATE)
    story.went(3, came=300, done=100, scorers=4, ready=1, latency=LATE)
    assert hold(story.decides()).why == "1 of 4 scorers are ready"


def test_scorers_that_never_become_ready_are_given_up() -> None:
    story = Story().went(5, came=60, done=60, scorers=1).went(3, came=300, done=100, scorers=1, latency=LATE)
    story.went(2 + START_LIMIT // timedelta(seconds=1), came=300, done=200, scorers=4, ready=2, latency=LATE)
    found = step(story.decides())
    assert (found.replicas, found.why) == (2, "only 2 of 4 scorers became ready within 60 s")


def test_a_step_that_did_not_help_is_undone_with_its_reason() -> None:
    story = Story().went(5, came=60, done=60, scorers=1).went(5, came=300, done=100, scorers=1, latency=LATE)
    story.went(9, came=300, done=100, scorers=4, latency=timedelta(seconds=8))
    undone = step(story.decides())
    assert undone.replicas == 1
    assert undone.why.startswith("4 scorers did not help: p99 latency 8.0 s")
    story.went(5, came=300, done=100, scorers=1, latency=timedelta(seconds=9))
    assert hold(story.decides()).why.startswith("more scorers did not help a moment ago")


def test_fewer_come_only_after_a_whole_cooldown() -> None:
    story = Story().went(5, came=300, done=300, scorers=4)
    assert isinstance(story.went(19, came=20, done=20, scorers=4).decides(), Hold)
    found = step(story.went(6, came=20, done=20, scorers=4).decides())
    assert found.replicas == 1
    assert found.why.startswith("for 20 s no more than 1 would have been needed")


def test_a_bound_that_was_lowered_is_kept_at_once() -> None:
    story = Story().went(5, came=60, done=60, scorers=6)
    found = step(story.decides())
    assert found.replicas == 4
    assert found.why == "6 is outside of the bounds: minReplicaCount 1, maxReplicaCount 8, 4 partitions"
    idle = replace(POLICY, allow_idle_consumers=True)
    hold(story.decides(idle))


def test_what_waits_is_shared_as_the_threshold_says() -> None:
    story = Story(capacity=10_000).went(3, came=1_000, done=1_000, scorers=1).went(2, came=1_000, done=850, scorers=1)
    hold(story.decides())
    assert step(story.decides(replace(POLICY, lag_threshold=100))).replicas == 3


class TestFromNone:
    policy = replace(POLICY, min_replicas=0, activation_lag_threshold=5)

    def test_the_first_comes_when_enough_waits(self) -> None:
        story = Story().went(3, came=0, done=0, scorers=0)
        hold(story.decides(self.policy))
        hold(story.went(1, came=4, done=0, scorers=0).decides(self.policy))
        assert step(story.went(2, came=4, done=0, scorers=0).decides(self.policy)).replicas == 1

    def test_the_last_goes_when_nothing_comes_any_more(self) -> None:
        story = Story().went(3, came=40, done=40, scorers=1).went(30, came=0, done=0, scorers=1)
        assert step(story.decides(self.policy)).replicas == 0
        hold(story.decides(POLICY))


def test_what_a_scorer_does_is_measured_only_while_it_always_had_work() -> None:
    story = Story(capacity=700).went(10, came=60, done=60, scorers=1)
    assert measured_capacity(story.history) == 700, "it did 60, because no more came"
    story.went(10, came=300, done=100, scorers=1)
    assert measured_capacity(story.history) == pytest.approx(100)


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(RequestError, match=r"minReplicaCount \(9\) is above maxReplicaCount \(8\)"):
        replace(POLICY, min_replicas=9)
