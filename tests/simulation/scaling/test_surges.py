"""The real autoscaler in surges of every size: the goal is met again within seconds, and nothing flaps."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from millrace.core.control.autoscaler import decide_scale
from millrace.core.control.scaling import Decision, Hold, Observation, ScalePolicy, Step
from tests.simulation.scaling.river import CALM_MS, TICK_MS, Decide, Surge, Told, draw, flow, policy_for

LONGEST_LATE = timedelta(seconds=20)
REBALANCE = timedelta(seconds=2)
"""A step down moves partitions, and what comes meanwhile is late."""


def check(surge: Surge, told: Told) -> None:
    """What is promised of every surge that some number of scorers can take."""
    assert told.reversals <= 1, "more than one reversal"
    assert told.late_secs <= LONGEST_LATE.total_seconds(), "late for too long"
    assert told.most <= surge.partitions, "more scorers than partitions"
    again = [at for at in told.late_ms if at > CALM_MS + 2 * LONGEST_LATE // timedelta(milliseconds=1)]
    assert len(again) * TICK_MS <= REBALANCE / timedelta(milliseconds=1), "late again after the goal was met"
    assert told.counts[-1][1] <= max(surge.first, surge.enough), "not back down"


def play(seed: int, decide: Decide) -> Told:
    surge = draw(seed)
    told = flow(surge, decide, seed=seed)
    try:
        check(surge, told)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}: {surge}, {told.counts}") from error
    return told


def test_every_surge_is_met_soon_with_one_reversal_and_back_down(seeds: range) -> None:
    for seed in seeds:
        play(seed, decide_scale)


def never(_: ScalePolicy, __: Sequence[Observation]) -> Decision:
    return Hold("never")


def by_lag_alone(policy: ScalePolicy, history: Sequence[Observation]) -> Decision:
    """As many scorers as the lag of the moment asks for, as many autoscalers decide."""
    now = history[-1]
    wanted = min(max(1, round(now.lag / 100)), policy.max_replicas)
    return Step(wanted, "lag") if wanted != now.desired else Hold("")


def without_bound(policy: ScalePolicy, history: Sequence[Observation]) -> Decision:
    decided = decide_scale(policy, history)
    return Step(100, "all there are") if isinstance(decided, Step) else decided


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(never, "late for too long"), (by_lag_alone, "reversal"), (without_bound, "more scorers than partitions")],
)
def test_a_wrong_policy_is_found(wrong: Decide, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        list(map(partial(play, decide=wrong), range(20)))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.78, 0.9])
def test_noise_alone_takes_nothing_back(load: float) -> None:
    for seed in range(5):
        surge = Surge(base=40 * load, capacity=40, factor=1, seconds=240)
        told = flow(surge, decide_scale, seed=seed)
        assert len(told.steps) <= 1, (seed, told.counts)


def test_a_step_that_does_not_help_is_undone_and_not_repeated() -> None:
    surge = Surge(base=100, factor=4, seconds=80, ceiling=200)
    told = flow(surge, decide_scale, seed=0)
    assert [count for _, count in told.counts] == [1, told.counts[1][1], 1]
    assert "did not help" in told.steps[1].why


def test_a_partition_that_nobody_can_move_brings_no_scorers_for_good() -> None:
    surge = Surge(base=60, factor=1, seconds=200, stuck=3)
    ignoring = flow(surge, decide_scale, seed=1)
    assert ignoring.counts[-1][1] == 1
    counting = flow(surge, decide_scale, seed=1, policy=replace(policy_for(surge), exclude_persistent_lag=False))
    assert counting.counts[-1][1] > 1, "without the guard its lag counts"


def test_a_bound_is_kept_and_named() -> None:
    surge = Surge(base=100, factor=5, seconds=80)
    policy = replace(policy_for(surge), max_replicas=3)
    told = flow(surge, decide_scale, seed=2, policy=policy)
    assert told.most == 3
