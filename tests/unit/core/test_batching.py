from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.core.batching import Backlog, BatchPolicy, Costs, Mode, Send, Wait, decide, first_linger, is_commit_due
from millrace.core.cost import LatencyCurve
from millrace.core.errors import RequestError


def ms(value: float) -> timedelta:
    return timedelta(milliseconds=value)


POLICY = BatchPolicy(slo=ms(100), max_records=1000, max_wait=ms(5), transaction_records=4000, transaction_age=ms(500))


def costs(per_record_us: float = 10, commit_ms: float = 5) -> Costs:
    score, commit = LatencyCurve(), LatencyCurve()
    for bucket in range(15):
        score.observe(1 << bucket, ms((1 << bucket) * per_record_us / 1000))
        commit.observe(1 << bucket, ms(commit_ms))
    return Costs(score, commit)


def test_an_empty_backlog_waits_for_records_as_long_as_the_settings_allow() -> None:
    assert decide(Backlog(0), POLICY, costs()) == Wait(ms(5))


def test_the_first_linger_shrinks_with_what_the_deadline_leaves() -> None:
    slow = costs(per_record_us=97)
    assert first_linger(POLICY, slow) == timedelta(0)
    assert decide(Backlog(0), POLICY, slow) == Wait(timedelta(0))


def test_a_fresh_part_batch_waits_for_the_rest_of_its_linger() -> None:
    decision = decide(Backlog(10, oldest=ms(3), waited=ms(2)), POLICY, costs())
    assert decision == Wait(ms(3))


def test_a_full_batch_is_sent_at_once() -> None:
    assert decide(Backlog(1000), POLICY, costs()) == Send(1000)


def test_a_larger_backlog_is_sent_one_batch_at_a_time() -> None:
    assert decide(Backlog(2500), POLICY, costs()) == Send(1000)


def test_a_part_batch_is_sent_after_its_linger() -> None:
    assert decide(Backlog(10, oldest=ms(6), waited=ms(5)), POLICY, costs()) == Send(10)


def test_a_part_batch_is_sent_when_its_deadline_comes_although_the_linger_would_go_on() -> None:
    patient = replace(POLICY, max_wait=ms(1000))
    waiting = decide(Backlog(10, oldest=ms(80), waited=ms(80)), patient, costs())
    assert isinstance(waiting, Wait)
    assert ms(0) < waiting.linger < ms(15)
    assert decide(Backlog(10, oldest=ms(96), waited=ms(80)), patient, costs()) == Send(10)


def test_what_would_miss_its_deadline_whole_is_sent_in_a_part_that_meets_it() -> None:
    decision = decide(Backlog(1000, oldest=ms(60), waited=ms(20)), POLICY, costs(per_record_us=50))
    assert decision == Send(512)


def test_what_is_cheap_to_score_is_not_cut_because_each_part_would_cost_a_commit() -> None:
    decision = decide(Backlog(1000, oldest=ms(60), waited=ms(20)), POLICY, costs(per_record_us=1, commit_ms=50))
    assert decision == Send(1000)


def test_behind_schedule_the_batch_is_as_large_as_allowed() -> None:
    assert decide(Backlog(5000, oldest=ms(5000), waited=ms(1)), POLICY, costs()) == Send(1000)


def test_behind_schedule_the_declared_variant_scores() -> None:
    policy = replace(POLICY, variant_after=ms(200))
    assert decide(Backlog(50, oldest=ms(250), waited=ms(9)), policy, costs()) == Send(50)
    assert decide(Backlog(50, oldest=ms(500), waited=ms(9)), policy, costs()) == Send(50, Mode.VARIANT)


@pytest.mark.parametrize(
    ("written", "age", "backlog", "due"),
    [
        (0, ms(900), 0, False),
        (10, ms(1), 0, True),
        (1000, ms(1), 999, True),
        (1000, ms(1), 1000, False),
        (3001, ms(1), 5000, True),
        (1000, ms(500), 5000, True),
    ],
)
def test_a_transaction_goes_on_only_while_whole_batches_wait(
    written: int, age: timedelta, backlog: int, due: bool
) -> None:
    assert is_commit_due(written=written, age=age, backlog=backlog, policy=POLICY) is due


def test_a_batch_larger_than_its_transaction_is_refused() -> None:
    with pytest.raises(RequestError, match=r"batch\.max_records"):
        replace(POLICY, transaction_records=10)
