"""Special functions with a stated accuracy, in log space where tails matter; the core has no scipy.

Accuracy is tested against scipy: 1e-12 relative, and of the logarithm where the value itself would underflow.
"""

import math
from statistics import NormalDist
from typing import Final

_TINY: Final = 1e-300
_EPSILON: Final = 2.0**-53
_STEPS: Final = 100_000


def log_gamma_upper(shape: float, x: float) -> float:
    """Logarithm of the regularised upper incomplete gamma function Q(shape, x).

    Series below `shape` + 1 (DLMF 8.11.4), continued fraction above (DLMF 8.9.2, evaluated by Lentz's method).
    """
    if x <= 0.0:
        return 0.0
    log_factor = shape * math.log(x) - x - math.lgamma(shape)
    if x < shape + 1.0:
        term = total = 1.0 / shape
        step = shape
        while term > total * _EPSILON:
            step += 1.0
            term *= x / step
            total += term
        return math.log1p(-min(math.exp(log_factor) * total, 1.0 - _EPSILON))
    return log_factor + math.log(_gamma_fraction(shape, x))


def log_chi2_tail(statistic: float, degrees: int) -> float:
    """Logarithm of P(X >= statistic) for X chi-square distributed; finite however small the probability is."""
    return log_gamma_upper(degrees / 2.0, statistic / 2.0)


def beta_regularised(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_factor = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_factor) * _beta_fraction(a, b, x) / a
    return 1.0 - math.exp(log_factor) * _beta_fraction(b, a, 1.0 - x) / b


def beta_quantile(a: float, b: float, probability: float) -> float:
    """The x at which I_x(a, b) equals `probability`, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2.0
        if middle in {low, high}:
            return middle
        if beta_regularised(a, b, middle) < probability:
            low = middle
        else:
            high = middle


def normal_quantile(probability: float) -> float:
    """The standard normal quantile."""
    return NormalDist().inv_cdf(probability)


def log_add(x: float, y: float) -> float:
    """log(exp(x) + exp(y)); either may be minus infinity."""
    high, low = (x, y) if x >= y else (y, x)
    return high if high == -math.inf else high + math.log1p(math.exp(low - high))


def log_mean(values: tuple[float, ...]) -> float:
    """Logarithm of the mean of exp(values). `values` must not be empty."""
    high = max(values)
    if math.isinf(high):
        return high
    return high + math.log(math.fsum(math.exp(value - high) for value in values) / len(values))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _gamma_fraction(shape: float, x: float) -> float:
    b = x + 1.0 - shape
    c = 1.0 / _TINY
    d = 1.0 / b
    total = d
    for i in range(1, _STEPS):
        a = -i * (i - shape)
        b += 2.0
        d = 1.0 / _away_from_zero(a * d + b)
        c = _away_from_zero(b + a / c)
        total *= d * c
        if abs(d * c - 1.0) <= 2 * _EPSILON:
            break
    return total


def _beta_fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    total = d
    for m in range(1, _STEPS):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _away_from_zero(1.0 + factor * d)
            c = _away_from_zero(1.0 + factor / c)
            total *= d * c
        if abs(d * c - 1.0) <= 2 * _EPSILON:
            break
    return total


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
