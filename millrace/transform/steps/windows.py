"""The step that makes one row of many: keyed windows in event time.

What it means is written in `docs/guides/transforms.md`, for tables and streams alike. This module has the document and
the table; `millrace.transform.streaming` has the stream, and a test holds the two against each other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from millrace.core.errors import Reason
from millrace.transform.exact import exact_sum
from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import FROZEN, ColumnName, Columns, Learned, Step
from millrace.transform.types import ColumnType, type_of

START: Final = "window_start"
END: Final = "window_end"

_MOST_OVERLAPPING: Final = 1_000
_NEVER: Final = np.iinfo(np.int64).min
_LARGEST_TIME: Final = 2**53

Seconds = Annotated[int, Field(ge=1, le=10 * 366 * 86_400)]


class Function(StrEnum):
    """What is made of the values of a window."""

    COUNT = "count"
    """How many there are; of rows, where no column is named. int64."""
    SUM = "sum"
    """The float64 nearest to their exact sum."""
    MEAN = "mean"
    """Their sum, divided by their count. float64."""
    MIN = "min"
    """The least, of the column's type."""
    MAX = "max"
    """The greatest, of the column's type."""
    DISTINCT = "distinct"
    """How many different ones there are. int64."""


class Aggregate(BaseModel):
    """One column of a window's row. Null is no value; without any, a sum, mean, min or max is null."""

    model_config = FROZEN

    into: ColumnName
    """The new column."""
    function: Function
    """What to make of the values."""
    of: ColumnName | None = None
    """The column that has them; only `count` can do without."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.of is None and self.function is not Function.COUNT:
            raise ValueError(f"{self.function} needs a column: of")
        return self

    def type_for(self, column: ColumnType | None) -> ColumnType:
        """The type of what it makes of a column of this type.

        Raises:
            MistakeError: It can make nothing of such a column.
        """
        if column is None or self.function in {Function.COUNT, Function.DISTINCT}:
            return ColumnType.INT64
        if column.is_number:
            return column if self.function in {Function.MIN, Function.MAX} else ColumnType.FLOAT64
        if column is ColumnType.TIMESTAMP and self.function in {Function.MIN, Function.MAX}:
            return column
        raise MistakeError(f"{self.function} of {self.of!r}, which is {column}", remedy="cast it before this step")


class Window(Step):
    """Make one row of all rows of a key whose times lie in the same window. Works on tables and in topologies.

    The columns that leave: the key's, `window_start`, `window_end`, and the aggregates.
    """

    is_stateful: ClassVar[bool] = True

    step: Literal["window"]
    key: Columns
    """The columns of the key: texts, whole numbers, truth values or times; null equals null."""
    time: ColumnName
    """The column of event times."""
    size_secs: Seconds
    """Length of a window. Windows begin at whole multiples of the hop since 1970."""
    hop_secs: Seconds | None = None
    """Distance between the starts of windows; divides the length. The length where absent: they do not overlap."""
    grace_secs: Annotated[int, Field(ge=0, le=10 * 366 * 86_400)] = 0
    """A window closes when its key has a time this far beyond its end; what comes later is late."""
    aggregates: Annotated[tuple[Aggregate, ...], Field(min_length=1, max_length=200)]
    """What is made of the rows of a window."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.size_secs % (self.hop_secs or self.size_secs):
            raise ValueError(f"hop_secs ({self.hop_secs}) does not divide size_secs ({self.size_secs})")
        if self.overlapping > _MOST_OVERLAPPING:
            raise ValueError(f"a row would be in {self.overlapping} windows; at most {_MOST_OVERLAPPING} are possible")
        names = [*self.key, START, END, *(each.into for each in self.aggregates)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"two columns would be named {twice[0]!r}; choose another name")
        return self

    @property
    def size_ms(self) -> int:
        """Length of a window."""
        return self.size_secs * 1000

    @property
    def hop_ms(self) -> int:
        """Distance between the starts of windows."""
        return (self.hop_secs or self.size_secs) * 1000

    @property
    def grace_ms(self) -> int:
        """How far beyond a window's end its key's time is when it closes."""
        return self.grace_secs * 1000

    @property
    def overlapping(self) -> int:
        """How many windows a time lies in."""
        return self.size_ms // self.hop_ms

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Make the windows of a whole table, whose rows came in this order; all close, because the table ends."""
        types = self.types(frame)
        frame = self.usable(frame)
        times = milliseconds(frame.column(self.time))
        members, late = self._members(_codes([frame.column(name) for name in self.key]), times)
        taken = pa.array(members.firsts)
        columns = {name: frame.column(name).take(taken) for name in self.key}
        columns[START] = _times(members.starts)
        columns[END] = _times(members.starts + self.size_ms)
        for each in self.aggregates:
            column = None if each.of is None else frame.column(each.of)
            columns[each.into] = _AGGREGATES[each.function](members, column).cast(types[each.into].arrow)
        order = pc.sort_indices(pa.table(columns), sort_keys=[(name, "ascending") for name in (START, *self.key)])
        sorted_columns = {name: column.take(order) for name, column in columns.items()}
        rows = frame.rows[members.lasts][order.to_numpy()]
        return replace(frame, columns=sorted_columns, rows=rows, late=frame.late + late)

    def types(self, frame: Frame) -> dict[str, ColumnType]:
        """The columns that leave and their types, in order.

        Raises:
            MistakeError: The step cannot work on these columns.
        """
        found = {name: type_of(frame.column(name)) for name in self.key}
        for name, column_type in found.items():
            if column_type.is_float:
                raise MistakeError(f"the key {name!r} is {column_type}", remedy="cast it to int64 or string before")
        if type_of(frame.column(self.time)) is not ColumnType.TIMESTAMP:
            raise MistakeError(f"{self.time!r} is no time", remedy="add a to_timestamp step before this one")
        found |= {START: ColumnType.TIMESTAMP, END: ColumnType.TIMESTAMP}
        for each in self.aggregates:
            found[each.into] = each.type_for(None if each.of is None else type_of(frame.column(each.of)))
        return found

    def usable(self, frame: Frame) -> Frame:
        """Without the rows that no window can hold, which are refused: no time, or a value that is not finite."""
        frame = frame.refuse(pc.is_null(frame.column(self.time)), Reason.MISSING_FIELD, f"{self.time} is missing")
        times = milliseconds(frame.column(self.time))
        far = pa.array((times <= -_LARGEST_TIME) | (times >= _LARGEST_TIME))
        frame = frame.refuse(far, Reason.WRONG_TYPE, f"{self.time} is no time")
        for name in dict.fromkeys(each.of for each in self.aggregates):
            if name is not None and type_of(frame.column(name)).is_float:
                endless = pc.invert(pc.is_finite(frame.column(name)))
                frame = frame.refuse(endless, Reason.NOT_FINITE, f"{name} is not finite")
        return frame

    def starts(self, time_ms: int) -> range:
        """The starts of the windows that a time lies in, ascending."""
        last = time_ms // self.hop_ms * self.hop_ms
        return range(last - self.size_ms + self.hop_ms, last + 1, self.hop_ms)

    def _members(self, codes: NDArray[np.int64], times: NDArray[np.int64]) -> tuple["_Members", int]:
        """Which rows are in which windows, and how many came too late for one."""
        newest = _newest_before(codes, times)
        last = times // self.hop_ms * self.hop_ms
        found, late = list[tuple[NDArray[np.int64], NDArray[np.intp]]](), np.zeros(len(times), np.bool_)
        for back in range(self.overlapping):
            starts = last - back * self.hop_ms
            is_closed = newest >= starts + self.size_ms + self.grace_ms
            late |= is_closed
            rows = np.flatnonzero(~is_closed)
            found.append((starts[rows], rows))
        starts, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((rows, starts, codes[rows]))
        return _Members.of(codes, starts[order], rows[order]), int(late.sum())


@dataclass(frozen=True, slots=True)
class _Members:
    """The rows of n windows, one window after the other; within a window in the order of the table.

    Attributes:
        rows: The rows of all windows.
        groups: The window of each of them.
        bounds: Where each window's rows begin.
        starts: Start of each window.
    """

    rows: NDArray[np.intp]
    groups: NDArray[np.intp]
    bounds: NDArray[np.intp]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, codes: NDArray[np.int64], starts: NDArray[np.int64], rows: NDArray[np.intp]) -> Self:
        """Of rows that are sorted by key and window."""
        is_first = np.ones(len(rows), np.bool_)
        is_first[1:] = (starts[1:] != starts[:-1]) | (codes[rows[1:]] != codes[rows[:-1]])
        bounds = np.flatnonzero(is_first)
        return cls(rows, np.cumsum(is_first) - 1, bounds, starts[bounds])

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def firsts(self) -> NDArray[np.intp]:
        """The first row of each window."""
        return self.rows[self.bounds]

    @property
    def lasts(self) -> NDArray[np.intp]:
        """The last row of each window."""
        return self.rows[np.append(self.bounds[1:], len(self.rows)) - 1] if len(self) else self.rows

    def valid(self, column: pa.Array) -> tuple[pa.Array, NDArray[np.intp]]:
        """The values that are there, and the window of each."""
        values = column.take(pa.array(self.rows))
        is_there = pc.is_valid(values)
        return values.filter(is_there), self.groups[is_there.to_numpy(zero_copy_only=False)]


def milliseconds(column: pa.Array) -> NDArray[np.int64]:
    """Times as numbers; a time that is missing is 0."""
    numbers: NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy()
    return numbers


def plain_values(column: pa.Array) -> pa.Array:
    """A column with one way to write each value: times as numbers, and no zero below zero."""
    if type_of(column) is ColumnType.TIMESTAMP:
        return column.cast(pa.int64())
    return pc.add(column, pa.scalar(0.0, column.type)) if type_of(column).is_float else column


def _times(numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array(numbers, pa.int64()).cast(pa.timestamp("ms"))


def _codes(columns: Sequence[pa.Array]) -> NDArray[np.int64]:
    """A number for each row, equal for equal keys."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        own = column.dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1].reshape(-1)
    return codes


def _newest_before(codes: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The greatest time among the earlier rows of each row's key; the least number where it is the first."""
    order = np.argsort(codes, kind="stable")
    keys, (distinct, ranks) = codes[order], np.unique(times[order], return_inverse=True)
    # The ranks of a key are lifted above those of all keys before it: one running maximum serves all keys.
    newest = np.maximum.accumulate(keys * len(distinct) + ranks.reshape(-1))
    before = np.full(len(times), _NEVER)
    follows = np.flatnonzero(keys[1:] == keys[:-1])
    before[order[follows + 1]] = distinct[newest[follows] % max(1, len(distinct))]
    return before


def _count(members: _Members, column: pa.Array | None) -> pa.Array:
    groups = members.groups if column is None else members.valid(column)[1]
    return pa.array(np.bincount(groups, minlength=len(members)), pa.int64())


def _distinct(members: _Members, column: pa.Array | None) -> pa.Array:
    values, groups = members.valid(plain_values(_given(column)))
    codes = values.dictionary_encode().indices.to_numpy().astype(np.int64)
    pairs = np.unique(np.stack([groups, codes]), axis=1)
    return pa.array(np.bincount(pairs[0], minlength=len(members)), pa.int64())


def _sum(members: _Members, column: pa.Array | None) -> pa.Array:
    values, groups = members.valid(_given(column).cast(pa.float64(), safe=False))
    numbers = values.to_pylist()
    edges = np.searchsorted(groups, np.arange(len(members) + 1)).tolist()
    sums = [exact_sum(numbers[begin:end]) if end > begin else None for begin, end in pairwise(edges)]
    return pa.array(sums, pa.float64())


def _mean(members: _Members, column: pa.Array | None) -> pa.Array:
    return pc.divide(_sum(members, column), _count(members, column).cast(pa.float64()))


def _extreme(find: "np.ufunc") -> Callable[[_Members, pa.Array | None], pa.Array]:
    def evaluate(members: _Members, column: pa.Array | None) -> pa.Array:
        given = _given(column)
        values, groups = members.valid(plain_values(given))
        numbers = values.to_numpy(zero_copy_only=False)
        found = np.zeros(len(members), numbers.dtype)
        present, begins = np.unique(groups, return_index=True)
        if len(present):
            found[present] = find.reduceat(numbers, begins)
        absent = np.ones(len(members), np.bool_)
        absent[present] = False
        return pa.array(found, mask=absent).cast(given.type)

    return evaluate


def _given(column: pa.Array | None) -> pa.Array:
    if column is None:
        raise TypeError("only a count can do without a column")
    return column


_AGGREGATES: Final[Mapping[Function, Callable[[_Members, pa.Array | None], pa.Array]]] = {
    Function.COUNT: _count,
    Function.SUM: _sum,
    Function.MEAN: _mean,
    Function.MIN: _extreme(np.minimum),
    Function.MAX: _extreme(np.maximum),
    Function.DISTINCT: _distinct,
}
