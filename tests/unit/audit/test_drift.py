"""Bar 3: distances and p-values are scipy's on the same bins."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from millrace.core.audit.drift import compare, js, ks, log_chi2_p, log_e_value, psi, psi_null_mean, same_season

SEEDS = range(10)


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_3_distances_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(12), 2)
    now, before = rng.multinomial(1000, p), rng.multinomial(10_000, q)
    expected = jensenshannon(now / 1000, before / 10_000, base=2)
    assert js(now / 1000, before / 10_000) == pytest.approx(expected, rel=1e-12)
    x, y = (now + 0.5) / (now + 0.5).sum(), (before + 0.5) / (before + 0.5).sum()
    assert psi(now, before) == pytest.approx(stats.entropy(x, y) + stats.entropy(y, x), rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_3_the_p_value_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(12, 20.0))
    shifted = share * rng.uniform(0.8, 1.25, 12)
    now, before = rng.multinomial(1000, shifted / shifted.sum()), rng.multinomial(10_000, share)
    expected = stats.chi2_contingency(np.stack((now, before)), correction=False).pvalue
    assert math.exp(log_chi2_p(now, before)) == pytest.approx(expected, rel=1e-11)


def test_the_p_value_of_equal_distributions_is_uniform() -> None:
    rng = np.random.default_rng(4)
    share = np.full(10, 0.1)
    p = [math.exp(log_chi2_p(rng.multinomial(500, share), rng.multinomial(5000, share))) for _ in range(2000)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_the_mean_of_an_e_value_is_at_most_one() -> None:
    p = (np.arange(100_000) + 0.5) / 100_000
    assert np.mean([math.exp(log_e_value(math.log(x))) for x in p.tolist()]) <= 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_3_ks_is_within_its_bound_of_the_unbinned_statistic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, now = rng.normal(size=10_000), rng.normal(0.2, 1.1, 1000)
    edges = np.concatenate(([-np.inf], np.quantile(before, np.linspace(0.1, 0.9, 9)), [np.inf]))
    value, bound = ks(np.histogram(now, edges)[0], np.histogram(before, edges)[0])
    assert value - 1e-12 <= stats.ks_2samp(now, before).statistic <= value + bound + 1e-12


def test_the_null_mean_of_psi_is_its_mean() -> None:
    rng = np.random.default_rng(2)
    share = np.full(12, 1 / 12)
    pairs = [(rng.multinomial(1000, share), rng.multinomial(10_000, share)) for _ in range(2000)]
    assert np.mean([psi(*pair) for pair in pairs]) == pytest.approx(psi_null_mean(*pairs[0]), rel=0.05)


def test_equal_counts_have_no_distance() -> None:
    counts = np.array([0, 5, 50, 20, 0])
    drift = compare("income", counts, counts * 7)
    assert (drift.js, drift.ks) == (0.0, 0.0)
    assert drift.log_p == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("now", "before"), [([0, 0, 0], [1, 2, 3]), ([1, 2, 3], [0, 0, 0]), ([0, 9, 0], [0, 90, 0])])
def test_where_nothing_can_be_said_there_is_no_evidence(now: list[int], before: list[int]) -> None:
    assert log_chi2_p(np.array(now), np.array(before)) == 0.0


def test_evidence_against_certainty_is_finite() -> None:
    log_p = log_chi2_p(np.array([100_000, 0]), np.array([0, 1_000_000]))
    assert -math.inf < log_p < -100_000


def test_a_season_ago_is_a_reference() -> None:
    hourly = {hour: np.array([hour, 1]) for hour in range(48)}
    found = same_season(hourly, 47, 24)
    assert found is not None
    assert found.tolist() == [23, 1]
    assert same_season(hourly, 10, 24) is None
