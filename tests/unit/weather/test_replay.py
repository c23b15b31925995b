"""Every day comes once, and its truth comes once, a day later."""

from itertools import chain, count

from examples.weather.replay import Pace, sendings

PACE = Pace(first=4_000, end=4_100, seconds=1.0)


def test_everything_is_sent_once_and_in_order() -> None:
    due = list(sendings(PACE, (number * 0.03 for number in count())))
    assert list(chain.from_iterable(one.features for one in due)) == list(range(4_000, 4_100))
    assert list(chain.from_iterable(one.labels for one in due)) == list(range(4_000, 4_100))


def test_a_truth_comes_after_its_day() -> None:
    known = sent = PACE.first
    for due in sendings(PACE, (number * 0.013 for number in count())):
        sent = max(sent, due.features.stop)
        known = max(known, due.labels.stop)
        assert known < sent or sent in {PACE.first, PACE.end}


def test_a_sender_that_was_held_up_catches_up() -> None:
    first, last, *_ = sendings(PACE, iter([0.1, 5.0, 5.1]))
    assert first.features == range(4_000, 4_010)
    assert last.features == range(4_010, 4_100)
