"""Every day comes once, and its truth comes once, a day later; and no day comes before it is allowed to."""

from collections.abc import Iterator
from itertools import chain, count

import pytest

from examples.weather.replay import sendings

FIRST, END = 4_000, 4_100


def every(days: int) -> Iterator[int]:
    return (FIRST + number * days for number in count())


@pytest.mark.parametrize("days", [1, 3, 1_000])
def test_everything_is_sent_once_and_in_order(days: int) -> None:
    due = list(sendings(FIRST, END, every(days)))
    assert list(chain.from_iterable(one.features for one in due)) == list(range(FIRST, END))
    assert list(chain.from_iterable(one.labels for one in due)) == list(range(FIRST, END))


def test_a_truth_comes_after_its_day() -> None:
    known = sent = FIRST
    for due in sendings(FIRST, END, every(2)):
        sent = max(sent, due.features.stop)
        known = max(known, due.labels.stop)
        assert known < sent or sent in {FIRST, END}


def test_a_stream_that_is_held_sends_nothing_and_then_goes_on() -> None:
    first, held, after, *_ = sendings(FIRST, END, iter([4_010, 4_010, 4_012]))
    assert first.features == range(4_000, 4_010)
    assert not held.features
    assert after.features == range(4_010, 4_012)
