"""Which requests are scored next, and which never."""

from datetime import timedelta

import pytest

from millrace_gateway.logic.asking import event_ids, priority_of, timeout_of
from millrace_gateway.logic.errors import BusyError
from millrace_gateway.logic.pending import Pending


def add(
    pending: Pending[str], name: str, *, rows: int = 1, at: float = 0, deadline: float = 100, rank: int = 0
) -> None:
    pending.add(name, rows=rows, arrived=at, deadline=deadline, priority=rank)


def test_requests_are_taken_by_priority_and_then_by_age() -> None:
    pending: Pending[str] = Pending(10)
    for name, rank in (("old", 0), ("second", 2), ("first", 1), ("new", 0), ("also first", 1)):
        add(pending, name, rank=rank)
    assert pending.take(2) == ["first", "also first"]
    assert pending.take(10) == ["second", "old", "new"]
    assert (len(pending), pending.rows) == (0, 0)


def test_a_micro_batch_is_made_of_whole_requests_and_of_at_least_one() -> None:
    pending: Pending[str] = Pending(100)
    for name, rows in (("a", 3), ("b", 3), ("c", 9)):
        add(pending, name, rows=rows)
    assert pending.take(5) == ["a"]
    assert pending.take(5) == ["b"]
    assert pending.take(5) == ["c"]


def test_there_is_room_for_so_many_rows_and_always_for_one_request() -> None:
    pending: Pending[str] = Pending(4)
    add(pending, "large", rows=9)
    with pytest.raises(BusyError, match="9 rows are waiting and 4 may"):
        add(pending, "more")
    pending.take(1)
    add(pending, "more", rows=4)
    with pytest.raises(BusyError):
        add(pending, "too many")


def test_who_is_late_or_gone_is_not_scored() -> None:
    pending: Pending[str] = Pending(10)
    for name, deadline in (("late", 1.0), ("in time", 3.0), ("gone", 3.0)):
        add(pending, name, rows=2, deadline=deadline)
    assert pending.expire(1.0) == ["late"]
    pending.discard(lambda name: name == "gone")
    assert (pending.rows, pending.take(10)) == (2, ["in time"])


def test_the_policy_sees_rows_and_the_age_of_the_oldest() -> None:
    pending: Pending[str] = Pending(10)
    assert pending.backlog(5.0).records == 0
    add(pending, "late arrival", rows=2, at=4.0, rank=1)
    add(pending, "early", rows=3, at=2.0)
    backlog = pending.backlog(5.0)
    assert (backlog.records, backlog.oldest.total_seconds()) == (5, 3.0)


def test_parameters_of_the_protocol() -> None:
    assert timeout_of(0) is None
    assert timeout_of(1_500_000) == timedelta(seconds=1.5)
    assert priority_of(None) == 0
    assert event_ids("a", 1) == ["a"]
