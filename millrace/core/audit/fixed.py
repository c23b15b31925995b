"""Sums that do not depend on the order of their terms, on the shards they were made in, or on the machine.

A term is rounded once to a multiple of 2**-40 and from then on is an integer: a mean is off by at most 2**-41, below
the 1e-12 to which metrics must agree with scikit-learn, and adding and subtracting are exact.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS: Final = 40
"""Sums are integers in units of 2**-FRACTION_BITS."""

LARGEST: Final = 2.0**31
"""Terms are clipped to this magnitude; callers count what they clip."""

_HALF_BITS: Final = FRACTION_BITS // 2
_LN2_HIGH: Final = 0.693147180369123816490e00
"""The leading 33 bits of ln 2, so that its product with an exponent is exact."""
_LN2_LOW: Final = 1.90821492927058770002e-10
_SQRT_HALF: Final = 0.7071067811865476


def sum_by_group(
    values: NDArray[np.float64], signs: NDArray[np.int64], groups: NDArray[np.intp], group_count: int
) -> list[int]:
    """Sum signed non-negative or negative terms per group, in units of 2**-40, exactly after one rounding a term.

    The magnitude is rounded before the sign is applied, so that a retraction cancels its contribution to the bit.
    At most 2**21 terms a call, each at most `LARGEST` in magnitude: every partial sum is then exact in a float64.
    """
    whole = np.floor(np.abs(values))
    fraction = np.rint((np.abs(values) - whole) * 2.0**FRACTION_BITS)
    upper = np.floor(fraction * 2.0**-_HALF_BITS)
    signed = np.where(values < 0, -signs, signs).astype(np.float64)
    limbs = [
        np.bincount(groups, weights=limb * signed, minlength=group_count).astype(np.int64).tolist()
        for limb in (whole, upper, fraction - upper * 2.0**_HALF_BITS)
    ]
    return [(w << FRACTION_BITS) + (u << _HALF_BITS) + v for w, u, v in zip(*limbs, strict=True)]


def as_float(total: int) -> float:
    """A fixed-point sum as a number."""
    return total / (1 << FRACTION_BITS)


def natural_log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of positive normal numbers, of IEEE-exact operations only; good to a few last bits.

    NumPy's own logarithm differs between processors in the last bit, which could change a rounded sum. This one gives
    the same bits everywhere: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1)).
    """
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    power = (exponent - small).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = np.full_like(square, 1.0 / 23.0)
    for odd in range(21, 0, -2):
        series = series * square + 1.0 / odd
    return np.asarray(power * _LN2_HIGH + (power * _LN2_LOW + 2.0 * ratio * series))
