import pytest

from millrace.core.bisection import split_good
from millrace.core.errors import RequestError


def test_nothing_is_attempted_without_rows() -> None:
    assert list(split_good(lambda _: 1, 0)) == []


def test_a_good_batch_costs_one_attempt() -> None:
    attempts = iter([True])
    assert list(split_good(lambda _: next(attempts), 1000)) == [(slice(0, 1000), True)]


def test_one_bad_row_costs_about_two_attempts_per_halving() -> None:
    attempts: list[slice] = []

    def attempt(rows: slice) -> bool | None:
        attempts.append(rows)
        return None if rows.start <= 700 < rows.stop else True

    failed = [rows for rows, made in split_good(attempt, 1024) if made is None]
    assert failed == [slice(700, 701)]
    assert len(attempts) == 21


def test_a_leaf_of_no_rows_would_never_end() -> None:
    with pytest.raises(RequestError, match="leaf of 1"):
        list(split_good(lambda _: None, 1, leaf=0))
