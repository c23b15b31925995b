"""Two models on the same records: whether one is better, tested pair by pair.

Records that both models get right or both get wrong say nothing about which is better; a paired test looks only at the
rest, and so needs far fewer records than two separate measurements.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.special import beta_quantile, beta_regularised, normal_quantile
from millrace.core.baseline import Estimate, wilson

_LEVEL: Final = 0.95


class PairedTest(StrEnum):
    """Which test a comparison rests on."""

    MCNEMAR_EXACT = "mcnemar_exact"
    """Of the records that exactly one model gets right, as many for either: a binomial test (McNemar 1947, exact)."""
    PAIRED_T = "paired_t"
    """The mean difference of absolute errors is zero: Student's t on the differences."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the same n records say about two models.

    Attributes:
        metric: `accuracy` (more is better) or `mae` (less is better).
        test: The test that `p_value` comes from.
        rows: Records that both models were measured on.
        champion: The metric of the model that is there, with a 95 % interval.
        candidate: The metric of the model that wants its place, with a 95 % interval.
        gain: By how much the candidate is better; negative where it is worse.
        lower: Lower limit of the gain's 95 % interval.
        upper: Upper limit of it.
        p_value: Probability of a difference of this size or more, either way, between equally good models.
    """

    metric: str
    test: PairedTest
    rows: int
    champion: Estimate
    candidate: Estimate
    gain: float
    lower: float
    upper: float
    p_value: float


def compare_classes(champion_right: NDArray[np.bool_], candidate_right: NDArray[np.bool_]) -> Comparison:
    """Compare classifiers by which of the same records, at least one, each got right.

    The test is McNemar's, exact. The interval of the difference is Agresti and Min's (2005): half a record is added to
    each cell of the table of pairs, because the plain interval is too short where few records differ.

    >>> right = np.array([True, True, False, False])
    >>> compare_classes(right, ~right).p_value
    1.0
    """
    rows = len(champion_right)
    lost = int(np.sum(champion_right & ~candidate_right))
    won = int(np.sum(~champion_right & candidate_right))
    lost_half, won_half, rows_more = lost + 0.5, won + 0.5, rows + 2
    centre = (won_half - lost_half) / rows_more
    spread = sqrt(lost_half + won_half - (won_half - lost_half) ** 2 / rows_more) / rows_more
    half = normal_quantile((1 + _LEVEL) / 2) * spread
    return Comparison(
        metric="accuracy",
        test=PairedTest.MCNEMAR_EXACT,
        rows=rows,
        champion=_share(int(champion_right.sum()), rows),
        candidate=_share(int(candidate_right.sum()), rows),
        gain=(won - lost) / rows,
        lower=max(centre - half, -1.0),
        upper=min(centre + half, 1.0),
        p_value=sign_test(won, lost),
    )


def compare_errors(champion_errors: NDArray[np.float64], candidate_errors: NDArray[np.float64]) -> Comparison:
    """Compare regressions by their absolute errors on the same records, at least two."""
    differences = champion_errors - candidate_errors
    rows = len(differences)
    gain, error = _mean_and_error(differences)
    half = error * t_quantile(_LEVEL, rows - 1)
    return Comparison(
        metric="mae",
        test=PairedTest.PAIRED_T,
        rows=rows,
        champion=_mean_estimate(champion_errors),
        candidate=_mean_estimate(candidate_errors),
        gain=gain,
        lower=gain - half,
        upper=gain + half,
        p_value=_t_tail(gain, error, rows - 1),
    )


def sign_test(wins: int, losses: int) -> float:
    """Two-sided probability of so uneven a result, or a more uneven one, when either outcome is as likely.

    >>> round(sign_test(8, 2), 6)
    0.109375
    >>> sign_test(0, 0)
    1.0
    """
    fewer, pairs = min(wins, losses), wins + losses
    if 2 * fewer >= pairs:
        return 1.0
    # The binomial distribution's lower tail is an incomplete beta function (DLMF 8.17.5).
    return min(1.0, 2 * beta_regularised(pairs - fewer, fewer + 1, 0.5))


def t_quantile(level: float, degrees: int) -> float:
    """How many standard errors a Student-t interval of this level reaches to each side.

    >>> round(t_quantile(0.95, 10), 4)
    2.2281
    """
    x = beta_quantile(degrees / 2, 0.5, 1 - level)
    return sqrt(degrees * (1 - x) / x)


def _t_tail(mean: float, error: float, degrees: int) -> float:
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    statistic = mean / error
    return beta_regularised(degrees / 2, 0.5, degrees / (degrees + statistic**2))


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values))


def _mean_estimate(errors: NDArray[np.float64]) -> Estimate:
    mean, error = _mean_and_error(errors)
    half = error * t_quantile(_LEVEL, len(errors) - 1)
    return Estimate("mae", mean, mean - half, mean + half)


def _share(right: int, rows: int) -> Estimate:
    return Estimate("accuracy", right / rows, *wilson(right, rows))
