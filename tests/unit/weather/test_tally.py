"""Accuracy is claimed only where it is known."""

import numpy as np
import pytest

from examples.weather.tally import Answer, Tally, known_prefix, rolling_accuracy


def answer(day: int, label: str = "dry", *, version: int = 1, at_secs: float = 0.0, latency_ms: int = 10) -> Answer:
    return Answer(day, label, 0.8, version, latency_ms, at_secs)


def test_predictions_and_truths_meet_in_any_order() -> None:
    tally = Tally(10, 14)
    tally.add_answer(answer(10))
    tally.add_truth(10, "dry")
    tally.add_truth(11, "rain")
    tally.add_answer(answer(11))
    assert tally.period(10, 14).judged == 2
    assert tally.period(10, 14).accuracy == 0.5


def test_days_after_a_gap_are_not_judged_yet() -> None:
    tally = Tally(0, 10)
    for day in (0, 1, 3):
        tally.add_answer(answer(day))
        tally.add_truth(day, "dry")
    assert tally.snapshot(sent=4, now_secs=0.0).judged_to == 2


def test_throughput_counts_the_last_seconds_only() -> None:
    tally = Tally(0, 1000)
    for day in range(100):
        tally.add_answer(answer(day, at_secs=day / 10))
    assert tally.snapshot(sent=100, now_secs=10.0).rate == pytest.approx(10, rel=0.1)
    assert tally.snapshot(sent=100, now_secs=60.0).rate == 0


def test_latency_quantiles() -> None:
    tally = Tally(0, 101)
    for day in range(101):
        tally.add_answer(answer(day, latency_ms=day))
    assert tally.latency is not None
    assert (tally.latency.p50_ms, tally.latency.p99_ms) == (50, 99)


def test_dead_letters_count_as_received() -> None:
    tally = Tally(0, 10)
    tally.add_answer(answer(0))
    tally.add_dead_letter("truncated")
    tally.add_dead_letter("truncated")
    assert tally.received == 3
    assert tally.snapshot(sent=3, now_secs=0.0).dead_letters == {"truncated": 2}


def test_rolling_accuracy_equals_the_mean_of_each_window() -> None:
    judged = np.random.default_rng(1).integers(0, 2, 50).astype(np.int8)
    expected = [judged[start : start + 7].mean() for start in range(44)]
    assert rolling_accuracy(judged, window=7) == pytest.approx(expected)
    assert len(rolling_accuracy(judged[:6], window=7)) == 0


def test_known_prefix_ends_at_the_first_unknown_day() -> None:
    assert known_prefix(np.array([1, 0, -1, 1], np.int8)).tolist() == [1, 0]
    assert known_prefix(np.array([1, 0], np.int8)).tolist() == [1, 0]


def test_the_first_version_is_judged_beside_the_loops() -> None:
    tally = Tally(10, 13)
    for day in (10, 11):
        tally.add_truth(day, "rain")
        tally.add_answer(answer(day, "rain", version=2))
        tally.add_frozen(day, "dry" if day == 10 else "rain")
    assert tally.period(10, 13).accuracy == 1.0
    assert tally.frozen_period(10, 13).accuracy == 0.5
    assert tally.is_level


def test_the_stream_is_not_over_while_the_first_version_is_behind() -> None:
    tally = Tally(10, 13)
    tally.add_answer(answer(10))
    assert not tally.is_level


def test_a_version_begins_with_its_earliest_day_in_whatever_order_partitions_come() -> None:
    tally = Tally(0, 10)
    for day, version in ((0, 1), (5, 2), (4, 2), (3, 1)):
        tally.add_answer(answer(day, version=version))
    assert tally.versions == {1: 0, 2: 4}
