"""An area chart in characters: each is filled by eighths, so that a terminal shows fourteen years in seven lines."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_FILLED: Final = np.array(list(" ▁▂▃▄▅▆▇█"))
"""By how many eighths are filled. Every monospaced font has these, at the same width."""


def resample(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The values as `count` means of equal stretches; NaN where a stretch has no value.

    >>> resample(np.array([1.0, 3.0, np.nan, np.nan]), 2).tolist()
    [2.0, nan]
    """
    stretch = np.arange(len(values)) * count // max(1, len(values))
    known = ~np.isnan(values)
    sums = np.bincount(stretch[known], values[known], minlength=count)
    numbers = np.bincount(stretch[known], minlength=count)
    means: NDArray[np.float64] = np.divide(sums, numbers, out=np.full(count, np.nan), where=numbers > 0)
    return means


def area_chart(values: NDArray[np.float64], *, height: int, low: float, high: float) -> list[str]:
    """The area below the values, in `height` rows of a character for each value, highest first.

    Values beyond `low` and `high` are drawn at the edge; NaN is a gap. A value at `low` is still visible.

    >>> area_chart(np.array([0.0, 0.5, 1.0, np.nan]), height=2, low=0.0, high=1.0)
    ['  █ ', '▁██ ']
    """
    eighths = np.clip((values - low) / (high - low), 0, 1) * height * 8
    filled = np.where(np.isnan(values), 0, np.maximum(1, np.nan_to_num(eighths).round())).astype(int)
    below = np.arange(height - 1, -1, -1)[:, None] * 8
    return ["".join(row) for row in _FILLED[np.clip(filled - below, 0, 8)].tolist()]
