"""Accuracy is claimed only where it is known, and a fall only where chance does not explain it."""

import numpy as np
import pytest

from examples.weather.tally import Answer, Fall, Tally, find_fall, known_prefix, rolling_accuracy


def answer(day: int, label: str = "dry", *, at_secs: float = 0.0, latency_ms: int = 10) -> Answer:
    return Answer(day, label, 0.8, latency_ms, at_secs)


def days_right(*stretches: tuple[int, float]) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Stretches of days, each with a share of right ones spread evenly."""
    parts = [np.floor(np.arange(1, n + 1) * share) - np.floor(np.arange(n) * share) for n, share in stretches]
    return np.concatenate(parts).astype(np.int8)


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


def test_a_steady_model_has_no_fall() -> None:
    assert find_fall(days_right((2_000, 0.8)), first=0, window=100) is None


def test_independent_days_seldom_show_a_fall() -> None:
    random = np.random.default_rng(11)
    falls = [find_fall((random.random(14_159) < 0.8).astype(np.int8), first=0) for _ in range(50)]
    assert sum(fall is not None for fall in falls) <= 1


def test_a_fall_is_found_soon_after_it_began() -> None:
    fall = find_fall(days_right((1_000, 0.8), (500, 0.5)), first=4_000, window=100)
    assert isinstance(fall, Fall)
    assert 5_010 <= fall.day < 5_100
    assert fall.before == pytest.approx(0.8, abs=0.01)
    assert fall.after < fall.bound < fall.before


def test_a_fall_needs_a_window_of_days_to_compare_with() -> None:
    assert find_fall(days_right((50, 0.8), (120, 0.2)), first=0, window=100) is None
