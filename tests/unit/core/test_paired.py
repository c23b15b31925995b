import numpy as np
import pytest
from scipy import stats

from millrace.core.paired import PairedTest, compare_classes, compare_errors, sign_test, t_quantile


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (8, 2), (30, 12), (400, 300)])
def test_the_exact_test_is_scipys(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("degrees", [1, 4, 30, 5000])
def test_the_t_quantile_is_scipys(degrees: int) -> None:
    assert t_quantile(0.95, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_the_paired_t_test_is_scipys() -> None:
    random = np.random.default_rng(1)
    champion = np.abs(random.normal(size=200))
    candidate = np.abs(champion + random.normal(-0.05, 0.3, size=200))
    found = compare_errors(champion, candidate)
    expected = stats.ttest_rel(champion, candidate)
    interval = expected.confidence_interval()
    assert found.test is PairedTest.PAIRED_T
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_equal_errors_are_no_difference() -> None:
    errors = np.arange(5, dtype=np.float64)
    assert compare_errors(errors, errors).p_value == 1.0
    assert compare_errors(errors + 1, errors).p_value == 0.0


def test_a_better_classifier_gains() -> None:
    champion = np.arange(1000) % 10 < 6
    candidate = np.arange(1000) % 10 < 8
    found = compare_classes(champion, candidate)
    assert found.gain == pytest.approx(0.2)
    assert found.lower < 0.2 < found.upper
    assert found.lower > 0.15
    assert found.p_value < 1e-10
    assert (found.champion.value, found.candidate.value) == (0.6, 0.8)


def test_the_interval_of_the_difference_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        draw = random.random((2, 150))
        found = compare_classes(draw[0] < 0.7, (draw[0] < 0.7) ^ (draw[1] < 0.1))
        covered += found.lower <= -0.04 <= found.upper  # 0.1 of 0.7 are lost, 0.1 of 0.3 are won
    assert 0.92 <= covered / 400 <= 0.99


def test_the_order_of_records_does_not_matter() -> None:
    random = np.random.default_rng(3)
    champion, candidate = random.random((2, 300)) < 0.6
    order = random.permutation(300)
    assert compare_classes(champion, candidate) == compare_classes(champion[order], candidate[order])
