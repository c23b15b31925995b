from collections.abc import Iterable
from datetime import timedelta
from typing import TypeAlias

import pytest
from loop_records import accepted, completed, promoted, requested

from millrace.core.audit.decisions import RetrainReason
from millrace.core.errors import RequestError
from millrace.process.retraining import Blocker, LoopAnswer, Requested
from millrace_trainer.logic.ledger import Accept, Action, Conclude, IntakePolicy, Ledger, Reject, Train, next_action

Record: TypeAlias = Requested | LoopAnswer

POLICY = IntakePolicy(cooldown=timedelta(days=1), max_per_day=3)


def numbered(*records: Record) -> Iterable[tuple[int, Record]]:
    return enumerate(records)


def ledger(*records: Record) -> Ledger:
    return Ledger().after(numbered(*records))


def action(*records: Record, policy: IntakePolicy = POLICY, champion: int | None = 1) -> Action | None:
    return next_action(ledger(*records), policy, champion=champion)


def blocker(*records: Record, policy: IntakePolicy = POLICY, champion: int | None = 1) -> Blocker | None:
    found = action(*records, policy=policy, champion=champion)
    assert found is not None
    return found.blocker if isinstance(found, Reject) else None


def test_an_empty_log_asks_for_nothing() -> None:
    assert action() is None
    assert ledger().is_settled


def test_a_loop_is_taken_up_trained_concluded_and_left() -> None:
    steps: list[Record] = [requested("a")]
    assert isinstance(action(*steps), Accept)
    steps.append(accepted("a"))
    assert isinstance(action(*steps), Train)
    steps.append(completed("a"))
    assert action(*steps) == Conclude(completed("a"))
    steps.append(promoted("a"))
    assert action(*steps) is None
    assert ledger(*steps).is_settled


def test_a_log_that_is_read_twice_says_the_same() -> None:
    records = list(numbered(requested("a"), accepted("a"), completed("a"), promoted("a"), requested("b", days=3)))
    once = Ledger().after(records)
    assert once.after(records) == once
    assert Ledger().after(records[:3]).after(records[1:]) == once


def test_a_request_that_is_repeated_is_one() -> None:
    assert action(requested("a"), accepted("a"), promoted("a"), requested("a")) is None


def test_answers_to_requests_that_are_no_longer_kept_say_nothing() -> None:
    assert action(accepted("z"), promoted("z")) is None


def test_work_in_hand_comes_before_new_requests() -> None:
    found = action(requested("a"), accepted("a"), requested("b", days=9))
    assert isinstance(found, Train)
    assert found.loop.request.loop_id == "a"


def test_what_came_while_another_was_at_work_is_rejected_and_what_comes_after_is_not() -> None:
    during = (requested("a"), accepted("a"), requested("b", days=3), promoted("a"))
    assert blocker(*during) is Blocker.OPEN_REQUEST
    after = (requested("a"), accepted("a"), promoted("a"), requested("b", days=3))
    assert blocker(*after) is None


def test_of_two_requests_that_wait_the_older_one_is_taken_up_and_the_other_rejected() -> None:
    first, second = requested("a"), requested("b", days=2)
    found = action(first, second)
    assert isinstance(found, Accept)
    assert found.loop.request.loop_id == "a"
    assert blocker(first, second, accepted("a"), promoted("a")) is Blocker.OPEN_REQUEST


def test_a_version_that_is_not_the_champion_is_not_replaced() -> None:
    assert blocker(requested("a"), champion=None) is Blocker.NO_CHAMPION
    assert blocker(requested("a"), champion=2) is Blocker.NOT_CHAMPION


@pytest.mark.parametrize(("days", "expected"), [(0.5, Blocker.COOLDOWN), (0.999, Blocker.COOLDOWN), (1.0, None)])
def test_the_cooldown_is_counted_in_event_time(days: float, expected: Blocker | None) -> None:
    assert blocker(requested("a"), accepted("a"), promoted("a"), requested("b", days=days)) is expected


def test_no_more_than_so_many_are_taken_up_a_day() -> None:
    policy = IntakePolicy(cooldown=timedelta(), max_per_day=2)
    records: list[Record] = []
    for number in range(2):
        loop_id = str(number)
        records += [requested(loop_id, days=number / 10), accepted(loop_id), promoted(loop_id)]
    assert blocker(*records, requested("next", days=0.9), policy=policy) is Blocker.DAILY_LIMIT
    assert blocker(*records, requested("next", days=1.05), policy=policy) is None


def test_a_request_is_void_once_event_time_has_passed_it() -> None:
    assert blocker(requested("a"), requested("b", days=7)) is Blocker.EXPIRED
    assert blocker(requested("a"), requested("b", days=6.9)) is None


def test_a_person_waits_neither_for_the_cooldown_nor_the_limit() -> None:
    by_hand = requested("b", days=0.1, reason=RetrainReason.MANUAL)
    assert blocker(requested("a"), accepted("a"), promoted("a"), by_hand) is None
    assert blocker(requested("a"), accepted("a"), by_hand, promoted("a")) is Blocker.OPEN_REQUEST


def test_a_request_by_hand_does_not_move_the_time_of_the_stream() -> None:
    by_hand = (requested("a", days=9000, reason=RetrainReason.MANUAL), accepted("a"), promoted("a"))
    assert blocker(*by_hand, requested("b")) is None


@pytest.mark.parametrize("broken", [{"cooldown": timedelta(seconds=-1)}, {"max_per_day": 0}])
def test_a_policy_that_never_accepts_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        IntakePolicy(**broken)  # type: ignore[arg-type]
