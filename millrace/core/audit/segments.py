"""Segments: the events of a version divided by the cells that one of its features falls into.

The cells are those of the reference profile, so every partition and every replay divides alike, and there are never
more than two dozen. A row whose bins cannot be read belongs to no segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.profile import Cells, NumericCells

NO_SEGMENT: Final = 0
"""The number of what belongs to no segment; everything where events are not divided."""

_LARGEST_CELL: Final = 255


@dataclass(frozen=True, slots=True)
class Segments:
    """How the events of one version are divided.

    Attributes:
        position: Which of the profiled features divides them.
        names: Name of each segment by its number less one, such as `region=eu`.
        numbers: Number of the segment by cell of the feature.
    """

    position: int
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    def assign(self, digits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The segment of each row, given its cells as `read_digits` gives them."""
        table = np.full(_LARGEST_CELL + 1, NO_SEGMENT, np.int64)
        table[: len(self.numbers)] = self.numbers
        return np.asarray(table[digits[:, self.position]])


def find_segments(cells: Sequence[Cells], feature: str) -> Segments | None:
    """The segments by a feature; None where a profile does not have it."""
    for position, entry in enumerate(cells):
        if entry.feature == feature:
            names = _numeric(entry) if isinstance(entry, NumericCells) else _categories(feature, entry.top)
            distinct = list(dict.fromkeys(names))
            return Segments(position, tuple(distinct), tuple(distinct.index(name) + 1 for name in names))
    return None


def _numeric(entry: NumericCells) -> list[str]:
    feature, edges = entry.feature, [f"{edge:g}" for edge in (*entry.lowers, *([entry.upper] if entry.lowers else []))]
    bins = [f"{feature}={low}..{high}" for low, high in pairwise(edges)]
    ends = (edges[0], edges[-1]) if edges else ("none", "none")
    # Edges that look alike would make one segment of two: their position tells them apart.
    bins = [name if bins.count(name) == 1 else f"{name}#{number}" for number, name in enumerate(bins)]
    return [f"{feature} is null", f"{feature}<{ends[0]}", *bins, f"{feature}>{ends[1]}"]


def _categories(feature: str, top: Sequence[str]) -> list[str]:
    # Values that the reference has seldom and values that it has not at all are one segment, the rest.
    return [f"{feature} is null", *(f"{feature}={value}" for value in top), *[f"{feature} is another"] * 2]
