"""How far the counts of a window are from those of a reference: effect sizes, and the evidence that it is not chance.

A reference is nothing but counts: those of the profile, of an earlier window, or of the same hour of earlier weeks
(`same_season`), whichever the caller means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.special import log_chi2_tail

MIN_EXPECTED: Final = 5.0
"""Cells with less than this expected count are pooled for the chi-square test (Cochran's rule)."""

_HALF_COUNT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Drift:
    """One feature's distance from its reference.

    Attributes:
        feature: Its name.
        js: Jensen-Shannon distance, 0 to 1: the square root of the divergence in bits.
        psi: Population stability index, with half a count added to every cell so that an empty cell is not infinite.
        psi_null_mean: The mean that sampling alone gives it, (1/n + 1/m)(cells - 1).
        ks: Kolmogorov-Smirnov distance over the cells; None for categories, which have no order.
        ks_bound: How much larger the distance of the unbinned values can be.
        log_p: Natural logarithm of the p-value of the two-sample chi-square test; 0 where nothing can be tested.
    """

    feature: str
    js: float
    psi: float
    psi_null_mean: float
    ks: float | None
    ks_bound: float
    log_p: float

    @property
    def effect(self) -> float:
        """The Jensen-Shannon distance without the part that sampling alone gives it, which no floor should see.

        To first order the divergence in nats is an eighth of the population stability index.
        """
        return math.sqrt(max(0.0, self.js**2 - self.psi_null_mean / (8.0 * math.log(2.0))))


def compare(feature: str, current: NDArray[np.int64], reference: NDArray[np.int64], *, ordered: bool = True) -> Drift:
    """Compare a window's counts with a reference's. An empty side gives zero distance and no evidence.

    Args:
        feature: The name to report.
        current: Events of the window per cell.
        reference: Events of the reference per cell, of the same cells.
        ordered: Whether the cells ascend in the value: nulls in the first cell are then left out of the KS distance.
    """
    n, m = int(current.sum()), int(reference.sum())
    if not n or not m:
        return Drift(feature, 0.0, 0.0, 0.0, None, 0.0, 0.0)
    p, q = current / n, reference / m
    distance, bound = ks(current[1:], reference[1:]) if ordered else (None, 0.0)
    return Drift(
        feature,
        js(p, q),
        psi(current, reference),
        psi_null_mean(current, reference),
        distance,
        bound,
        log_chi2_p(current, reference),
    )


def js(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon distance of two distributions, in base 2 (Lin, 1991, IEEE Trans. Inf. Theory 37:145)."""
    middle = (p + q) / 2.0

    def divergence(x: NDArray[np.float64]) -> float:
        filled = x > 0
        return math.fsum(x[filled] * np.log2(x[filled] / middle[filled]))

    return math.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2.0))


def psi(current: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Population stability index: the symmetric Kullback-Leibler divergence, over cells that either side has."""
    present = (current + reference) > 0
    p, q = (current[present] + _HALF_COUNT), (reference[present] + _HALF_COUNT)
    p, q = p / p.sum(), q / q.sum()
    return math.fsum((p - q) * np.log(p / q))


def psi_null_mean(current: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Mean of the index when both sides are samples of one distribution (Yurdakul, 2018, chapter 3)."""
    cells = int(((current + reference) > 0).sum())
    return (1.0 / int(current.sum()) + 1.0 / int(reference.sum())) * (cells - 1)


def ks(current: NDArray[np.int64], reference: NDArray[np.int64]) -> tuple[float, float]:
    """Largest distance of the cumulative shares at the edges, and how much larger it can be between them.

    Between two edges the distribution functions can differ by at most the larger of the two shares of that cell more
    than at its ends.
    """
    n, m = current.sum(), reference.sum()
    if not n or not m:
        return 0.0, 0.0
    p, q = current / n, reference / m
    at_edges = np.concatenate(([0.0], np.cumsum(p) - np.cumsum(q)))
    value = float(np.abs(at_edges).max())
    within = np.maximum(at_edges[:-1] + p, -at_edges[:-1] + q)
    return value, float(max(within.max() - value, 0.0))


def log_chi2_p(current: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Logarithm of the p-value of the two-sample chi-square test of homogeneity.

    Cells whose expected count on the smaller side is below `MIN_EXPECTED` are pooled, with the next larger ones where
    need be.
    """
    n, m = int(current.sum()), int(reference.sum())
    if not n or not m:
        return 0.0
    both = current + reference
    enough = MIN_EXPECTED * (n + m) / min(n, m)
    order = np.argsort(both, kind="stable")
    # Pool the smallest cells until the pool is large enough: in a nearly empty one a single event counts too much.
    pooled = max(int(np.searchsorted(np.cumsum(both[order]), enough)) + 1, int((both < enough).sum()))
    x, y = (np.append(side[order[pooled:]], side[order[:pooled]].sum()) for side in (current, reference))
    x, y = x.astype(np.float64), y.astype(np.float64)
    if len(x) < 2:
        return 0.0
    difference = x * math.sqrt(m / n) - y * math.sqrt(n / m)
    return log_chi2_tail(math.fsum(difference * difference / (x + y)), len(x) - 1)


def log_e_value(log_p: float) -> float:
    """A p-value as an e-value, e = p**(-1/2) / 2, in logarithms (Vovk and Wang, 2021, Ann. Stat. 49:1736).

    The mean of e under the null hypothesis is at most 1, because the integral of p**(-1/2) / 2 over (0, 1) is.
    """
    return -math.log(2.0) - log_p / 2.0


def same_season(windows: Mapping[int, NDArray[np.int64]], start_ms: int, period_ms: int) -> NDArray[np.int64] | None:
    """The sum of earlier windows a whole number of periods before this one; None where there is none.

    Args:
        windows: Counts by start of the window.
        start_ms: Start of the window that asks.
        period_ms: Length of a season, for example a week.
    """
    earlier: Sequence[NDArray[np.int64]] = [
        counts for start, counts in windows.items() if start < start_ms and (start_ms - start) % period_ms == 0
    ]
    return np.asarray(np.sum(earlier, axis=0)) if earlier else None
