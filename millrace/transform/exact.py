"""Sums that do not depend on the order of what is summed, nor on where they are cut: exact, and rounded once."""

import math
from collections.abc import Sequence
from typing import Final

_ONE: Final = 1 << 1074
"""Every finite float64 is a whole number of the smallest one, 2 ** -1074."""


def as_integer(value: float) -> int:
    """A finite float as a whole number of the smallest one."""
    numerator, denominator = value.as_integer_ratio()
    return numerator * (_ONE // denominator)


def nearest(total: int) -> float:
    """The float nearest to a sum of such whole numbers; infinite where it is beyond all floats.

    >>> nearest(as_integer(1e16) + as_integer(1.0) + as_integer(-1e16))
    1.0
    """
    try:
        return total / _ONE  # Python rounds the quotient of two integers correctly, once
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def exact_sum(values: Sequence[float]) -> float:
    """The float nearest to the exact sum of finite floats; equal to `nearest` of their whole numbers."""
    try:
        return math.fsum(values) + 0.0
    except OverflowError:  # on the way; the sum itself may be a float
        return nearest(sum(map(as_integer, values)))
