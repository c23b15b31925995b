from datetime import timedelta

import pytest

from millrace.core.cost import LatencyCurve, backoff, size_bucket


def ms(value: float) -> timedelta:
    return timedelta(milliseconds=value)


def test_nothing_seen_costs_nothing() -> None:
    assert LatencyCurve().predict(100) == timedelta(0)


def test_prediction_is_an_upper_bound_within_one_cell() -> None:
    curve = LatencyCurve(quantile=0.95)
    for _ in range(100):
        curve.observe(64, ms(10))
    assert ms(10) <= curve.predict(64) <= ms(10 * 1.22)


def test_quantile_ignores_rare_pauses_and_follows_a_lasting_change() -> None:
    curve = LatencyCurve(quantile=0.9)
    for turn in range(200):
        curve.observe(64, ms(1000) if turn % 50 == 25 else ms(10))
    assert curve.predict(64) < ms(13)
    for _ in range(100):
        curve.observe(64, ms(100))
    assert curve.predict(64) > ms(90)


def test_unseen_sizes_are_taken_from_their_neighbours() -> None:
    curve = LatencyCurve()
    curve.observe(256, ms(8))
    assert curve.predict(1) == curve.predict(256)
    assert curve.predict(1024) == 4 * curve.predict(256)


def test_prediction_never_falls_with_size() -> None:
    curve = LatencyCurve()
    curve.observe(16, ms(50))
    curve.observe(1024, ms(5))
    durations = [curve.predict(1 << bucket) for bucket in range(15)]
    assert durations == sorted(durations)


@pytest.mark.parametrize(("budget", "expected"), [(500, 1000), (13, 512), (0.01, 0)])
def test_largest_batch_within_a_budget(budget: float, expected: int) -> None:
    curve = LatencyCurve()
    for bucket in range(1, 11):
        curve.observe(1 << bucket, ms(2.0**bucket / 50))
    assert curve.largest_within(ms(budget), at_most=1000) == expected


def test_a_stored_curve_predicts_the_same() -> None:
    curve = LatencyCurve(quantile=0.99)
    for size in (1, 50, 3000):
        curve.observe(size, ms(size))
    restored = LatencyCurve.from_dict(curve.to_dict(), quantile=0.99)
    assert [restored.predict(n) for n in (1, 50, 3000)] == [curve.predict(n) for n in (1, 50, 3000)]


def test_a_damaged_stored_curve_is_an_empty_one() -> None:
    assert LatencyCurve.from_dict({"cells": [["x"], [1, 2], [99, 0, 1.0], None]}, quantile=0.9).predict(5) == ms(0)


def test_durations_beyond_the_scale_are_kept_at_its_ends() -> None:
    curve = LatencyCurve()
    curve.observe(1, timedelta(hours=2))
    assert curve.predict(1) > timedelta(seconds=90)
    assert size_bucket(10**9) == 20


def test_backoff_doubles_and_is_bounded() -> None:
    waits = [backoff(n, first=ms(100), longest=ms(1000)) for n in range(1, 100)]
    assert waits[:4] == [ms(100), ms(200), ms(400), ms(800)]
    assert set(waits[4:]) == {ms(1000)}
