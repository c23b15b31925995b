"""What the labelled predictions of a window say about a model: metrics from counts, with intervals.

Metrics are exact (they agree with scikit-learn to 1e-12) unless they state an `error_bound`, which is then the most
that the binning of scores can have moved them. Intervals are for 95 % confidence unless asked otherwise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.fixed import FRACTION_BITS, as_float
from millrace.core.audit.layout import ERRORS, Layout
from millrace.core.audit.pane import Pane
from millrace.core.audit.special import beta_quantile, normal_quantile
from millrace.core.profile import SCORE_BINS
from millrace.core.signature import Task

CONFIDENCE: Final = 0.95

_CALIBRATION_BINS: Final = 10
_POSITIVE: Final = 1
"""The second of two classes is the one that precision and recall are about."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a window.

    Attributes:
        value: The figure.
        lo: Lower end of its interval; None where none is computed.
        hi: Upper end.
        n: Labelled predictions that it is made of.
        error_bound: How far the binning of scores can have moved the value; 0 for exact metrics.
    """

    value: float
    lo: float | None
    hi: float | None
    n: int
    error_bound: float = 0.0


def measure(pane: Pane) -> dict[str, Metric]:
    """Every metric of the pane's task that its counts define, by name; empty where nothing is labelled.

    A metric without a definition (precision where nothing was predicted positive, AUC of a single class) is left out.
    """
    if pane.count("labelled") <= 0:
        return {}
    if pane.layout.task is Task.REGRESSION:
        return _measure_regression(pane)
    return _measure_classes(pane)


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a proportion (Wilson, 1927, J. Am. Stat. Assoc. 22:209); `trials` must be positive."""
    z = normal_quantile((1.0 + confidence) / 2.0)
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = z / (1.0 + spread) * math.sqrt(share * (1.0 - share) / trials + spread / (4.0 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def clopper_pearson_upper(successes: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Upper confidence limit of a proportion, never too low (Clopper and Pearson, 1934, Biometrika 26:404)."""
    if successes >= trials:
        return 1.0
    return beta_quantile(successes + 1.0, float(trials - successes), confidence)


def auc(positives: NDArray[np.generic], negatives: NDArray[np.generic]) -> tuple[float, float]:
    """Area under the ROC curve from score counts of each class, ascending, and the error bound of the binning.

    Pairs in one bin count half; the truth is between none and all of them, hence half their share as the bound.
    Both classes must be present.
    """
    p, n = positives.astype(np.float64), negatives.astype(np.float64)
    pairs = p.sum() * n.sum()
    below = np.cumsum(n) - n
    return float(p @ (below + 0.5 * n) / pairs), float(0.5 * (p @ n) / pairs)


def auc_deviation(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    """Standard deviation of the AUC of binned scores (DeLong et al., 1988, Biometrics 44:837)."""
    p, n = positives.astype(np.float64), negatives.astype(np.float64)
    p_total, n_total = p.sum(), n.sum()
    value, _ = auc(positives, negatives)
    of_positives = (np.cumsum(n) - n + 0.5 * n) / n_total
    of_negatives = (p_total - np.cumsum(p) + 0.5 * p) / p_total
    return math.sqrt(
        float(p @ (of_positives - value) ** 2) / p_total / max(p_total - 1.0, 1.0)
        + float(n @ (of_negatives - value) ** 2) / n_total / max(n_total - 1.0, 1.0)
    )


def calibration_error(totals: NDArray[np.int64], positives: NDArray[np.int64]) -> tuple[float, float]:
    """Expected calibration error over ten bins of equal width (Naeini et al., 2015), and its error bound.

    Scores are taken to be in the middle of their bins, so the bound is half a bin.
    """
    middles = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
    scored = (totals * middles).reshape(_CALIBRATION_BINS, -1).sum(axis=1)
    observed = positives.reshape(_CALIBRATION_BINS, -1).sum(axis=1)
    return float(np.abs(scored - observed).sum() / totals.sum()), 0.5 / SCORE_BINS


def error_losses(pane: Pane) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Absolute errors of a regression, in units of its scale: events per cell, and the least error of each cell."""
    return pane.section("errors"), ERRORS.lower_edges()


def _measure_classes(pane: Pane) -> dict[str, Metric]:
    confusion, n = pane.section("confusion"), pane.count("labelled")
    hits = int(confusion.trace())
    metrics = {"accuracy": _proportion(hits, n), "error_rate": _proportion(n - hits, n)}
    metrics |= _precision_recall(pane.layout, confusion, n)
    metrics |= _ranking(pane, n)
    for name in ("log_loss", "brier"):
        metrics[name] = _mean(pane.total(name), pane.total(f"{name}_squared"), n)
    return metrics | _weighted("weighted_accuracy", pane, "weight_right")


def _proportion(successes: int, trials: int) -> Metric:
    return Metric(successes / trials, *wilson(successes, trials), trials)


def _mean(total: int, squares: int, n: int, unit: float = 1.0) -> Metric:
    mean = as_float(total) / n
    # The difference is exact in integers; as floats it would cancel. The rounding of terms may make it negative.
    spread = max(n * (squares << FRACTION_BITS) - total * total, 0) / (1 << (2 * FRACTION_BITS))
    half = normal_quantile((1.0 + CONFIDENCE) / 2.0) * math.sqrt(spread / n / n / max(n - 1, 1))
    return Metric(mean * unit, (mean - half) * unit, (mean + half) * unit, n)


def _precision_recall(layout: Layout, confusion: NDArray[np.int64], n: int) -> dict[str, Metric]:
    hits, told, truth = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    if layout.task is Task.BINARY:
        hit, said, true = (int(counts[_POSITIVE]) for counts in (hits, told, truth))
        metrics = {}
        if said:
            metrics["precision"] = _proportion(hit, said)
        if true:
            metrics["recall"] = _proportion(hit, true)
        if said + true:
            metrics["f1"] = Metric(2 * hit / (said + true), None, None, n)
        return metrics
    # Averages over the classes that were predicted or true; a class that never was one of the two scores 0, as in
    # scikit-learn with zero_division=0.
    present = (told + truth) > 0
    ratios: Mapping[str, NDArray[np.float64]] = {
        "precision_macro": _ratio(hits, told),
        "recall_macro": _ratio(hits, truth),
        "f1_macro": _ratio(2 * hits, told + truth),
    }
    return {name: Metric(float(ratio[present].mean()), None, None, n) for name, ratio in ratios.items()}


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1), np.float64)


def _ranking(pane: Pane, n: int) -> dict[str, Metric]:
    """AUC, KS distance between the classes and calibration; one against the rest for several classes."""
    positives = pane.section("positives")
    negatives = pane.section("labelled_scores") - positives
    usable = [k for k in range(len(positives)) if positives[k].any() and negatives[k].any()]
    if len(usable) < len(positives):
        return {}
    pairs = [(positives[k], negatives[k]) for k in usable]
    if pane.layout.task is Task.BINARY:
        p, q = pairs[0]
        value, bound = auc(p, q)
        half = normal_quantile((1.0 + CONFIDENCE) / 2.0) * auc_deviation(p, q) + bound
        calibration, calibration_bound = calibration_error(p + q, p)
        return {
            "roc_auc": Metric(value, max(0.0, value - half), min(1.0, value + half), n, bound),
            "ece": Metric(calibration, None, None, n, calibration_bound),
        }
    values, bounds = zip(*(auc(p, q) for p, q in pairs), strict=True)
    return {"roc_auc_ovr": Metric(math.fsum(values) / len(values), None, None, n, math.fsum(bounds) / len(bounds))}


def _measure_regression(pane: Pane) -> dict[str, Metric]:
    n, scale = pane.count("labelled"), pane.layout.scale
    absolute = _mean(pane.total("error_absolute"), pane.total("error_squared"), n, scale)
    squared = _mean(pane.total("error_squared"), pane.total("error_fourth"), n)
    metrics = {
        "mae": absolute,
        "mse": _map(squared, lambda x: x * scale * scale),
        "rmse": _map(squared, lambda x: math.sqrt(max(x, 0.0)) * scale),
        "bias": _mean(pane.total("error"), pane.total("error_squared"), n, scale),
    }
    truth = pane.total("truth")
    spread = n * (pane.total("truth_squared") << FRACTION_BITS) - truth * truth
    if spread > 0:
        residual = n * (pane.total("error_squared") << FRACTION_BITS)
        metrics["r2"] = Metric(1.0 - residual / spread, None, None, n)
    return metrics | _weighted("weighted_mae", pane, "weight_error", scale)


def _weighted(name: str, pane: Pane, total: str, unit: float = 1.0) -> dict[str, Metric]:
    """The weighted mean of a term, if any label has a weight of its own. Nothing is decided on it."""
    n, weight = pane.count("labelled"), pane.total("weight")
    if weight == n << FRACTION_BITS:
        return {}
    return {name: Metric(pane.total(total) / weight * unit, None, None, n)}


def _map(metric: Metric, function: Callable[[float], float]) -> Metric:
    lo, hi = (None if end is None else function(end) for end in (metric.lo, metric.hi))
    return Metric(function(metric.value), lo, hi, metric.n)
