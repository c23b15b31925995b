"""Special functions against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import special, stats

from millrace.core.audit.special import (
    beta_quantile,
    beta_regularised,
    log_add,
    log_chi2_tail,
    log_gamma_upper,
    log_mean,
)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.5, 4.5, 8.0, 17.0])
def test_the_upper_gamma_is_scipys_where_it_has_one(shape: float) -> None:
    for x in np.geomspace(1e-3, 500.0, 200):
        expected = special.gammaincc(shape, x)
        assert math.exp(log_gamma_upper(shape, x)) == pytest.approx(expected, rel=2e-12)


@pytest.mark.parametrize("degrees", [2, 8, 12, 34])
def test_the_logarithm_of_a_tiny_tail_is_that_of_the_closed_form(degrees: int) -> None:
    for statistic in (2e3, 1e4, 1e6):
        x, terms = statistic / 2, degrees // 2
        # For an even number of degrees the tail is a Poisson sum.
        poisson = [i * math.log(x) - math.lgamma(i + 1) for i in range(terms)]
        expected = -x + max(poisson) + math.log(math.fsum(math.exp(t - max(poisson)) for t in poisson))
        assert log_chi2_tail(statistic, degrees) == pytest.approx(expected, rel=1e-12)


def test_nothing_exceeds_a_statistic_of_zero_by_chance_only() -> None:
    assert log_chi2_tail(0.0, 5) == 0.0


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 3.0), (12.0, 90.0), (201.0, 1800.0), (5001.0, 45_000.0)])
def test_the_incomplete_beta_is_scipys(a: float, b: float) -> None:
    middle, spread = a / (a + b), math.sqrt(a * b) / (a + b) ** 1.5
    for x in np.clip(middle + np.linspace(-4, 4, 21) * spread, 1e-6, 1 - 1e-6):
        assert beta_regularised(a, b, float(x)) == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.95])
def test_the_beta_quantile_is_scipys(probability: float) -> None:
    assert beta_quantile(201.0, 1800.0, probability) == pytest.approx(stats.beta.ppf(probability, 201, 1800), rel=1e-10)


def test_sums_of_logarithms_bear_infinities() -> None:
    assert log_add(-math.inf, -math.inf) == -math.inf
    assert log_add(-math.inf, 2.0) == 2.0
    assert log_add(1e5, 1e5) == pytest.approx(1e5 + math.log(2))
    assert log_mean((-math.inf, -math.inf)) == -math.inf
    assert log_mean((1000.0, 1000.0)) == 1000.0
