"""The rows that are on their way through a transform, as Arrow arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millrace.core.errors import Reason
from millrace.transform.mistake import MistakeError


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the transform cannot take.

    Attributes:
        row: Its number in the table that was given.
        step: Number of the step that refused it, from 1; 0 for the input's schema, and one more than there are steps
            for the output's.
        reason: From the closed list of dead letters.
        detail: What is wrong, in one line.
    """

    row: int
    step: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns of equal length, and where each row came from.

    Attributes:
        columns: By name, in order.
        rows: intp, shape (n,): number of each row in the table that was given.
        refused: Rows that were taken out because they cannot be transformed.
        step: Number of the step that is at work.
        late: Rows that came too late for a window.
    """

    columns: Mapping[str, pa.Array]
    rows: NDArray[np.intp]
    refused: tuple[Refused, ...] = ()
    step: int = 0
    late: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> pa.Array:
        """One column.

        Raises:
            MistakeError: There is none of this name.
        """
        try:
            return self.columns[name]
        except KeyError:
            known = ", ".join(self.columns) or "none"
            raise MistakeError(f"there is no column {name!r}", remedy=f"columns at this step: {known}") from None

    def with_columns(self, columns: Mapping[str, pa.Array]) -> "Frame":
        """These columns put in the place of those of their names, or at the end."""
        return replace(self, columns={**self.columns, **columns})

    def only(self, names: Sequence[str]) -> "Frame":
        """These columns, in this order."""
        return replace(self, columns={name: self.column(name) for name in names})

    def filter(self, mask: pa.BooleanArray) -> "Frame":
        """The rows where the mask is true; null is not."""
        kept = pc.fill_null(mask, False)  # noqa: FBT003 -- Arrow's signature
        columns = {name: column.filter(kept) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[kept.to_numpy(zero_copy_only=False)])

    def refuse(self, mask: pa.BooleanArray, reason: Reason, detail: str) -> "Frame":
        """Take out the rows where the mask is true, and remember why."""
        bad = pc.fill_null(mask, False)  # noqa: FBT003 -- Arrow's signature
        if not pc.any(bad, min_count=0).as_py():
            return self
        rows = self.rows[bad.to_numpy(zero_copy_only=False)]
        refused = tuple(Refused(int(row), self.step, reason, detail) for row in rows)
        return replace(self.filter(pc.invert(bad)), refused=self.refused + refused)

    def at_step(self, step: int) -> "Frame":
        """The same rows, at this step."""
        return replace(self, step=step)

    def items(self) -> Iterator[tuple[str, pa.Array]]:
        """Names and columns, in order."""
        return iter(self.columns.items())
