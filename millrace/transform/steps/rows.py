"""Steps that choose rows: filter, deduplicate."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from millrace.transform.expressions import parse
from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import Columns, Learned, Step
from millrace.transform.types import ColumnType, type_of


class Filter(Step):
    """Keep the rows for which an expression is true; where it is null, it is not."""

    step: Literal["filter"]
    where: str
    """The expression: `rain > 0 and station != 'A'`."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        mask = parse(self.where)(frame)
        if type_of(mask) is not ColumnType.BOOL:
            raise MistakeError(
                f"the expression is {type_of(mask)}, not true or false", remedy="compare it with something"
            )
        return frame.filter(mask)


class Deduplicate(Step):
    """Keep one row of those that are equal in these columns. Needs to see all rows, so it works on tables."""

    is_stateful: ClassVar[bool] = True

    step: Literal["deduplicate"]
    by: Columns
    """The columns of the key; null equals null."""
    keep: Literal["first", "last"] = "first"
    """Which row, in the order of the table."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        place = "\0place"  # no column of a document has this name
        keys = {f"key_{number}": frame.column(name) for number, name in enumerate(self.by)}
        table = pa.table({**keys, place: np.arange(len(frame))})
        chosen = table.group_by(list(keys), use_threads=False).aggregate(
            [(place, "min" if self.keep == "first" else "max")]
        )
        mask = np.zeros(len(frame), np.bool_)
        mask[chosen.column(chosen.num_columns - 1).to_numpy()] = True
        return frame.filter(pa.array(mask))
