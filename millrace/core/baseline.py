"""How good a model was on its reference rows, with 95 % intervals: what later windows are compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.outputs import Outputs

_Z: Final = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_SMALLEST_SHARE: Final = 1e-7  # below it float32 scores are zero, and their logarithm is not finite


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value between the limits of its 95 % interval.

    Attributes:
        name: `accuracy`, `log_loss`, `brier`, `roc_auc`, `mae` or `rmse`.
        value: The measured value.
        lower: Lower limit.
        upper: Upper limit.
    """

    name: str
    value: float
    lower: float
    upper: float


def measure_classes(outputs: Outputs, truth: NDArray[np.intp]) -> tuple[Estimate, ...]:
    """Accuracy and log loss; for two classes also Brier score and, where both occur, the area under the ROC curve.

    Args:
        outputs: Answers of a classifier for at least one row.
        truth: The true classes of the same rows, as indexes.
    """
    return tuple(_class_estimates(outputs, truth))


def measure_values(outputs: Outputs, truth: NDArray[np.float64]) -> tuple[Estimate, ...]:
    """Mean absolute error and root mean squared error of predicted values."""
    error = outputs.scores.astype(np.float64) - truth
    absolute = _mean("mae", np.abs(error))
    squared = _mean("mse", error**2)
    root = Estimate("rmse", sqrt(squared.value), sqrt(max(squared.lower, 0.0)), sqrt(squared.upper))
    return absolute, root


def wilson(successes: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927).

    >>> [round(limit, 4) for limit in wilson(80, 100)]
    [0.7112, 0.8666]
    """
    share = successes / rows
    centre = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def area_under_curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Estimate:
    """The area under the ROC curve by ranks, its interval after Hanley and McNeil (1982). Both classes must occur.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])).value
    0.875
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # equal scores share their mean rank
    ones = int(positive.sum())
    zeros = len(positive) - ones
    area = float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
    both_above, both_below = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ones - 1) * (both_above - area**2) + (zeros - 1) * (both_below - area**2)
    half = _Z * sqrt(max(variance, 0.0) / (ones * zeros))
    return Estimate("roc_auc", area, max(area - half, 0.0), min(area + half, 1.0))


def _class_estimates(outputs: Outputs, truth: NDArray[np.intp]) -> Iterator[Estimate]:
    rows = len(truth)
    right = int(np.sum(outputs.labels == truth))
    yield Estimate("accuracy", right / rows, *wilson(right, rows))
    scores = outputs.scores.astype(np.float64)
    yield _mean("log_loss", -np.log(np.clip(scores[np.arange(rows), truth], _SMALLEST_SHARE, 1.0)))
    if scores.shape[1] == 2:
        positive = truth == 1
        yield _mean("brier", (scores[:, 1] - positive) ** 2)
        if 0 < positive.sum() < rows:
            yield area_under_curve(scores[:, 1], positive)


def _mean(name: str, losses: NDArray[np.float64]) -> Estimate:
    """A mean and its normal interval."""
    value = float(losses.mean())
    half = _Z * float(losses.std()) / sqrt(len(losses))
    return Estimate(name, value, value - half, value + half)
