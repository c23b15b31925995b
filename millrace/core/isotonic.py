"""Isotonic calibration on score bins: the share of positives as a non-decreasing function of the score."""

import numpy as np
from numpy.typing import NDArray


def fit_isotonic(positives: NDArray[np.generic], totals: NDArray[np.generic]) -> NDArray[np.float64]:
    """Fit shares per bin by pooling adjacent violators (Barlow et al., Statistical Inference under Order Restrictions).

    Empty bins take the share of the nearest pool below, or of the first pool where there is none below.

    Args:
        positives: Rows of the positive class per bin.
        totals: All rows per bin; at least one bin must not be empty.

    Returns:
        The share of positives per bin, non-decreasing, each between 0 and 1.

    >>> fit_isotonic(np.array([1, 0, 0, 3]), np.array([4, 4, 0, 4])).tolist()
    [0.125, 0.125, 0.125, 0.75]
    """
    filled = np.flatnonzero(totals)
    pools: list[tuple[float, float, int]] = []  # positives, rows, filled bins
    for positive, total in zip(positives[filled].tolist(), totals[filled].tolist(), strict=True):
        pool = (float(positive), float(total), 1)
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    shares = np.repeat([positive / total for positive, total, _ in pools], [bins for _, _, bins in pools])
    nearest = np.searchsorted(filled, np.arange(len(totals)), side="right") - 1
    return np.asarray(shares[np.maximum(nearest, 0)], np.float64)
