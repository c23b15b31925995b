"""Performance before the labels: confidence-based performance estimation (CBPE) from score counts.

If the calibrated probability p of each score still holds, p of the predictions with that score are positive. From that
follow the expected confusion counts and the expected ROC curve. CBPE sees a change in the input; it cannot see a change
in how the input determines the label (concept drift), because it believes the old calibration.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.performance import Metric, auc
from millrace.core.errors import RequestError
from millrace.core.profile import SCORE_BINS

METHOD: Final = "cbpe"
LIMITS: Final = "assumes that the calibration of the reference holds: blind to concept drift"


def estimate(scores: NDArray[np.int64], isotonic: NDArray[np.float64], threshold: float = 0.5) -> dict[str, Metric]:
    """Expected metrics of a binary model.

    Args:
        scores: Predictions per bin of the second class's score, shape (1000,).
        isotonic: Share of the second class per bin, as the reference profile holds it.
        threshold: Predictions whose bin begins at or above it are taken as positive.

    Raises:
        RequestError: The isotonic table has another number of bins than the scores.

    Returns:
        `accuracy`, `error_rate`, and where defined `precision`, `recall`, `f1`, `roc_auc`; empty without predictions.
    """
    if isotonic.shape != scores.shape:
        raise RequestError(
            f"the calibration has {isotonic.shape} bins and the scores {scores.shape}", remedy="export the model again"
        )
    n = int(scores.sum())
    if not n:
        return {}
    positives, negatives = scores * isotonic, scores * (1.0 - isotonic)
    said = np.arange(SCORE_BINS) >= round(threshold * SCORE_BINS)
    hit, false = float(positives[said].sum()), float(negatives[said].sum())
    missed, right = float(positives[~said].sum()), float(negatives[~said].sum())
    values = {"accuracy": (hit + right) / n, "error_rate": (false + missed) / n}
    if hit + false > 0:
        values["precision"] = hit / (hit + false)
    if hit + missed > 0:
        values["recall"] = hit / (hit + missed)
        values["f1"] = 2 * hit / (2 * hit + false + missed)
    metrics = {name: Metric(value, None, None, n) for name, value in values.items()}
    if positives.any() and negatives.any():
        # No error bound: a calibration by bins says nothing about the order inside a bin.
        metrics["roc_auc"] = Metric(auc(positives, negatives)[0], None, None, n)
    return metrics
