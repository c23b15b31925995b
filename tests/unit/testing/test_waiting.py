from datetime import timedelta

import pytest

from millrace.testing.waiting import Deadline, eventually

SOON = timedelta(milliseconds=30)


def test_returns_what_the_condition_returned() -> None:
    answers = iter([0, "", "there"])
    assert eventually(lambda: next(answers)) == "there"


def test_asks_at_least_once() -> None:
    assert eventually(lambda: 1, within=timedelta(0)) == 1


def test_names_what_did_not_come_true() -> None:
    with pytest.raises(AssertionError, match=r"the moon did not come true within 0\.03 s"):
        eventually(lambda: False, within=SOON, what="the moon")


def test_an_assertion_is_a_not_yet_and_stays_as_the_cause() -> None:
    def condition() -> bool:
        raise AssertionError("one is not two")

    with pytest.raises(AssertionError) as failure:
        eventually(condition, within=SOON)
    assert "one is not two" in str(failure.value.__cause__)


def test_a_deadline_passes_once() -> None:
    assert Deadline.after(timedelta(0)).has_passed
    assert Deadline.after(timedelta(hours=1)).left > timedelta(minutes=59)
    assert Deadline.after(timedelta(hours=-1)).left == timedelta(0)
