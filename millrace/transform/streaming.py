"""Windows over streams: the same document and the same rows as over a table, with state that any engine can keep.

Nothing here reads a clock, and nothing depends on how records are cut into batches or how keys lie in partitions: what
becomes of a record depends on the records of its key before it, in their order.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
import pyarrow as pa

from millrace.core.errors import RequestError
from millrace.transform.document import Column, Transform
from millrace.transform.exact import as_integer, nearest
from millrace.transform.frame import Frame, Refused
from millrace.transform.program import Program, Transformed
from millrace.transform.steps.windows import Function, Window, milliseconds, plain_values
from millrace.transform.types import ColumnType

State: TypeAlias = dict[str, Any]
"""What is kept of one key, as JSON values; a state store may write it down and give it back."""

States: TypeAlias = MutableMapping[str, State]
"""States by key. The key is the JSON array of the key columns' values, as `json.dumps` writes it."""


@dataclass(frozen=True, slots=True)
class WindowedTransform:
    """A transform in three parts: what is done to each record, the window, and what is done to the window's row.

    Attributes:
        before: The steps before the window.
        window: The window.
        after: The steps after it; its input are the window's columns.
        number: The window's number among the steps of the whole, from 1.
    """

    before: Program
    window: Window
    after: Program
    number: int

    @classmethod
    def of(cls, program: Program) -> Self:
        """Cut a transform at its window.

        Raises:
            RequestError: It has no window, several, or another step that looks at other rows.
        """
        transform, steps = program.transform, program.transform.steps
        stateful = [number for number, step in enumerate(steps, start=1) if step.is_stateful]
        windows = [step for step in steps if isinstance(step, Window)]
        if len(stateful) != 1 or len(windows) != 1:
            raise RequestError(
                f"transform {transform.transform} has {len(windows)} windows and {len(stateful)} steps that look at "
                "other rows",
                remedy="give a stream a transform with one window step and no deduplicate step",
            )
        number = stateful[0]
        before = Program(
            transform.model_copy(update={"steps": steps[: number - 1], "output": None}), program.learned[: number - 1]
        )
        nothing = {column.name: pa.array([], column.type.arrow) for column in before.check()}
        types = windows[0].types(Frame(nothing, np.empty(0, np.intp)))
        made = tuple(Column(name=name, type=column_type, nullable=True) for name, column_type in types.items())
        after = Program(
            Transform(transform=transform.transform, input=made, steps=steps[number:], output=transform.output),
            program.learned[number:],
        )
        return cls(before, windows[0], after, number)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the rows that leave."""
        return self.after.check()

    def read(self, records: pa.Table | pa.RecordBatch) -> "Readings":
        """What the window must know of records, after the steps before it.

        Raises:
            RequestError: The table lacks a column of the transform's input, or has one of a type that cannot be read.
        """
        made = self.before.apply(records)
        columns = dict(zip(made.table.schema.names, made.table.columns, strict=True))
        frame = self.window.usable(Frame(columns, made.source, made.refused, self.number))
        none = [None] * len(frame)
        keys = [plain_values(frame.column(name)).to_pylist() for name in self.window.key]
        wanted = [each.of for each in self.window.aggregates]
        values = [none if name is None else plain_values(frame.column(name)).to_pylist() for name in wanted]
        return Readings(
            list(map(list, zip(*keys, strict=True))),
            milliseconds(frame.column(self.window.time)).tolist(),
            list(zip(*values, strict=True)),
            frame.rows.tolist(),
            tuple(sorted(frame.refused, key=lambda refused: refused.row)),
        )

    def rows(self, closed: Sequence["Closed"]) -> Transformed:
        """The rows of windows that closed, after the steps behind the window."""
        given, size_ms = self.after.transform.input, self.window.size_ms
        cells = [[*each.key, each.start_ms, each.start_ms + size_ms, *each.values] for each in closed]
        columns = list(zip(*cells, strict=True)) or [()] * len(given)
        arrays = [_array(values, column) for values, column in zip(columns, given, strict=True)]
        return self.after.apply(pa.table(dict(zip([column.name for column in given], arrays, strict=True))))


@dataclass(frozen=True, slots=True)
class Readings:
    """What a window must know of records, in their order.

    Attributes:
        keys: Of each record the values of the key columns.
        times_ms: Of each record its event time, milliseconds since 1970.
        values: Of each record a value for each aggregate, None where there is none.
        rows: Of each record its number in the given table.
        refused: Records that are in none of these, because they cannot be transformed.
    """

    keys: list[list[Any]]
    times_ms: list[int]
    values: list[tuple[Any, ...]]
    rows: list[int]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class Emitted:
    """What came of some records.

    Attributes:
        table: Rows of the windows that closed; those of a key ascend by their start.
        late: Records that came too late for a window, and are not in it.
        refused: Records that cannot be transformed, by their number in the given table.
        refused_windows: Windows whose rows cannot be transformed, by their number among those that closed.
    """

    table: pa.RecordBatch
    late: int = 0
    refused: tuple[Refused, ...] = ()
    refused_windows: tuple[Refused, ...] = ()


class StreamWindows:
    """The windows of a stream, or of a part of it that has all records of its keys. For one thread.

    Args:
        windowed: The transform.
        states: Where the states of keys are kept; read and written once for each record.
    """

    def __init__(self, windowed: WindowedTransform, states: States) -> None:
        self._parts: Final = windowed
        self._states: Final = states
        self._fold: Final = KeyFold(windowed.window)

    def add(self, records: pa.Table | pa.RecordBatch) -> Emitted:
        """Take records in, in their order, and give the rows of the windows that close by them.

        Raises:
            RequestError: The table lacks a column of the transform's input, or has one of a type that cannot be read.
        """
        readings = self._parts.read(records)
        closed, late = list[Closed](), 0
        for key, time_ms, values in zip(readings.keys, readings.times_ms, readings.values, strict=True):
            name = json.dumps(key)
            folded = self._fold.add(self._states.get(name), key, time_ms, values)
            self._states[name] = folded.state
            closed += folded.closed
            late += folded.is_late
        return self._emit(closed, late, readings.refused)

    def advance(self, to_ms: int) -> Emitted:
        """Give the rows of the windows that would close if every key had a record of this time.

        For keys that fell silent. Call it only with a time that no record will be older than, less the grace: a record
        that comes all the same, for a window that was closed so, is late.
        """
        closed = list[Closed]()
        for name in list(self._states):
            folded = self._fold.advance(self._states[name], to_ms)
            self._states[name] = folded.state
            closed += folded.closed
        return self._emit(closed)

    def close(self) -> Emitted:
        """Give the rows of all windows that are open, as at the end of a table, and forget the keys."""
        closed = [each for name in list(self._states) for each in self._fold.close(self._states.pop(name))]
        return self._emit(closed)

    def _emit(self, closed: Sequence["Closed"], late: int = 0, refused: tuple[Refused, ...] = ()) -> Emitted:
        made = self._parts.rows(closed)
        return Emitted(made.table, late, refused, made.refused)


@dataclass(frozen=True, slots=True)
class Closed:
    """One window that has closed: its key, its start, and a value for each aggregate."""

    key: Sequence[Any]
    start_ms: int
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a key's state.

    Attributes:
        state: The state now.
        closed: The windows that closed, ascending by their start.
        is_late: Whether the record came too late for a window.
    """

    state: State
    closed: Sequence[Closed]
    is_late: bool = False


class KeyFold:
    """Folds the records of a key into its state, one by one. Pure: states that are given are not changed.

    A state is `{"key": [...], "newest": 1700000000000, "open": {"<start>": [<accumulator>, ...]}}`.

    Args:
        window: The window.
    """

    def __init__(self, window: Window) -> None:
        self._window: Final = window
        self._adds: Final = [_ADD[each.function] for each in window.aggregates]
        self._ends: Final = [_END[each.function] for each in window.aggregates]
        self._counts_rows: Final = [each.of is None for each in window.aggregates]

    def add(self, state: State | None, key: Sequence[Any], time_ms: int, values: Sequence[Any]) -> Folded:
        """Take one record in.

        Args:
            state: The key's state; None for a key that is new.
            key: Values of the key columns.
            time_ms: The record's event time.
            values: A value for each aggregate, None where there is none; of no account for one without a column.
        """
        newest = None if state is None else state["newest"]
        open_windows = {} if state is None else dict(state["open"])
        is_late = False
        for start in self._window.starts(time_ms):
            if newest is not None and newest >= self._due(start):
                is_late = True
                continue
            before = open_windows.get(str(start), [None] * len(self._adds))
            open_windows[str(start)] = [
                add(so_far, value) if value is not None or counts_rows else so_far
                for add, so_far, value, counts_rows in zip(self._adds, before, values, self._counts_rows, strict=True)
            ]
        reached = time_ms if newest is None else max(newest, time_ms)
        return self._closing({"key": list(key), "newest": reached, "open": open_windows}, is_late=is_late)

    def advance(self, state: State, to_ms: int) -> Folded:
        """As if the key had a record of this time that is in no window."""
        return self._closing({**state, "newest": max(state["newest"], to_ms), "open": dict(state["open"])})

    def close(self, state: State) -> list[Closed]:
        """All windows that are open, ascending by their start."""
        return [self._closed(state, start) for start in sorted(map(int, state["open"]))]

    def next_due(self, state: State) -> int | None:
        """The time by which the first of a key's open windows closes; None where none is open."""
        return min((self._due(int(start)) for start in state["open"]), default=None)

    def _due(self, start: int) -> int:
        """The time by which a window closes."""
        return start + self._window.size_ms + self._window.grace_ms

    def _closing(self, state: State, *, is_late: bool = False) -> Folded:
        due = sorted(start for start in map(int, state["open"]) if state["newest"] >= self._due(start))
        closed = [self._closed(state, start) for start in due]
        for start in due:
            del state["open"][str(start)]
        return Folded(state, closed, is_late)

    def _closed(self, state: State, start: int) -> Closed:
        found = state["open"][str(start)]
        return Closed(state["key"], start, [end(each) for end, each in zip(self._ends, found, strict=True)])


def _array(values: Sequence[Any], column: Column) -> pa.Array:
    """A column of a window's rows; times are numbers in states."""
    if column.type is ColumnType.TIMESTAMP:
        return pa.array(values, pa.int64()).cast(column.type.arrow)
    return pa.array(values, column.type.arrow)


def _count(so_far: int | None, _: object) -> int:
    return (so_far or 0) + 1


def _total(so_far: list[Any] | None, value: float) -> list[Any]:
    """How many, and their exact sum in hexadecimal digits: integers of any size survive any JSON so."""
    count, total = so_far or (0, "0")
    return [count + 1, f"{int(total, 16) + as_integer(float(value)):x}"]


def _least(so_far: Any, value: Any) -> Any:  # noqa: ANN401 -- a number of any kind
    return value if so_far is None else min(so_far, value)


def _greatest(so_far: Any, value: Any) -> Any:  # noqa: ANN401 -- a number of any kind
    return value if so_far is None else max(so_far, value)


def _different(so_far: list[Any] | None, value: Any) -> list[Any]:  # noqa: ANN401 -- a value of any kind
    known = so_far or []
    place = bisect_left(known, value)
    return known if place < len(known) and known[place] == value else [*known[:place], value, *known[place:]]


def _sum_of(total: list[Any] | None) -> float | None:
    return None if total is None else nearest(int(total[1], 16))


def _mean_of(total: list[Any] | None) -> float | None:
    return None if total is None else nearest(int(total[1], 16)) / total[0]


_ADD: Final[Mapping[Function, Callable[[Any, Any], Any]]] = {
    Function.COUNT: _count,
    Function.SUM: _total,
    Function.MEAN: _total,
    Function.MIN: _least,
    Function.MAX: _greatest,
    Function.DISTINCT: _different,
}

_END: Final[Mapping[Function, Callable[[Any], Any]]] = {
    Function.COUNT: lambda so_far: so_far or 0,
    Function.SUM: _sum_of,
    Function.MEAN: _mean_of,
    Function.MIN: lambda so_far: so_far,
    Function.MAX: lambda so_far: so_far,
    Function.DISTINCT: lambda so_far: len(so_far or ()),
}
