"""A table of columns that grows by doubling and uses its rows again."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FIRST_ROWS: Final = 1024


class Table:
    """Named NumPy columns of one capacity, and a stack of the rows that are free.

    Args:
        blanks: What a row holds in each column when it is taken: a NumPy scalar, or an array for a column of vectors.
    """

    def __init__(self, blanks: Mapping[str, NDArray[np.generic] | np.generic]) -> None:
        self.blanks: Final[Mapping[str, NDArray[Any]]] = {name: np.asarray(blank) for name, blank in blanks.items()}
        self._columns = {name: np.empty((0, *blank.shape), blank.dtype) for name, blank in self.blanks.items()}
        self._free = np.empty(0, np.int64)
        self._free_count = 0
        self._capacity = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A whole column, of the type of its blank. Growing replaces it: do not keep it across `take`."""
        return self._columns[name]

    @property
    def size_bytes(self) -> int:
        """Memory of all columns."""
        return sum(column.nbytes for column in self._columns.values()) + self._free.nbytes

    def take(self, count: int) -> NDArray[np.int64]:
        """Free rows, not yet blank."""
        if count > self._free_count:
            self._grow(count)
        self._free_count -= count
        return self._free[self._free_count : self._free_count + count].copy()

    def blank(self, rows: NDArray[np.int64]) -> None:
        """Give rows their first content."""
        for name, blank in self.blanks.items():
            self._columns[name][rows] = blank

    def give_back(self, rows: NDArray[np.int64]) -> None:
        """Make rows free again."""
        self._free[self._free_count : self._free_count + len(rows)] = rows
        self._free_count += len(rows)

    def _grow(self, count: int) -> None:
        capacity = max(_FIRST_ROWS, 2 * self._capacity, self._capacity + count)
        for name, blank in self.blanks.items():
            grown = np.empty((capacity, *blank.shape), blank.dtype)
            grown[: self._capacity] = self._columns[name]
            self._columns[name] = grown
        free = np.empty(capacity, np.int64)
        kept = free[: self._free_count + capacity - self._capacity]
        # New rows lie below the free ones on the stack and in descending order: neighbours are taken together.
        kept[: capacity - self._capacity] = np.arange(self._capacity, capacity)[::-1]
        kept[capacity - self._capacity :] = self._free[: self._free_count]
        self._free, self._free_count, self._capacity = free, len(kept), capacity
