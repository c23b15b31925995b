"""Steps that change a column's type: cast, to_number, to_timestamp."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints, model_validator

from millrace.core.errors import Reason
from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import ColumnName, Columns, Learned, Step
from millrace.transform.types import ColumnType, type_of

_INTEGER: Final = r"^\s*[+-]?[0-9]{1,18}\s*$"
"""Eighteen digits always fit into 64 bits; a longer number is an identifier, and stays a text."""
_DECIMAL: Final = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?\s*$"
_TRUTH: Final = r"^(true|false)$"


class Cast(Step):
    """Give columns other types. A value without an equal in the new type refuses its row; float32 may round."""

    step: Literal["cast"]
    columns: Annotated[Mapping[ColumnName, ColumnType], Field(min_length=1)]
    """New types by column."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        for name, target in self.columns.items():
            frame = cast_column(frame, name, target)
        return frame


class ToNumber(Step):
    """Read texts as numbers (float64). A text that is none refuses its row."""

    step: Literal["to_number"]
    columns: Columns
    """Columns of texts."""
    decimal: Annotated[str, StringConstraints(min_length=1, max_length=1)] = "."
    """The decimal sign."""
    thousands: Annotated[str, StringConstraints(max_length=1)] = ""
    """A sign between groups of digits, left out before reading."""
    missing: tuple[str, ...] = ("",)
    """Texts that mean that there is no value; they become null."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands are the same sign")
        return self

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        for name in self.columns:
            texts = pc.utf8_trim_whitespace(_texts(frame, name))
            texts = pc.if_else(pc.is_in(texts, value_set=pa.array(self.missing, pa.string())), None, texts)
            if self.thousands:
                texts = pc.replace_substring(texts, self.thousands, "")
            if self.decimal != ".":
                texts = pc.replace_substring(texts, self.decimal, ".")
            frame = cast_column(frame.with_columns({name: texts}), name, ColumnType.FLOAT64)
        return frame


class ToTimestamp(Step):
    """Read texts or numbers as times in UTC. A value that is none refuses its row."""

    step: Literal["to_timestamp"]
    columns: Columns
    """Columns of texts, or of numbers since 1970."""
    format: str = "%Y-%m-%dT%H:%M:%S"
    """How texts are written, in the words of `strptime`."""
    unit: Literal["s", "ms"] = "s"
    """What one of a number is."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        for name in self.columns:
            column = frame.column(name)
            if type_of(column).is_number:
                times = self._of_numbers(column)
            else:
                times = pc.strptime(_texts(frame, name), format=self.format, unit="ms", error_is_null=True)
            lost = pc.and_(pc.is_valid(column), pc.is_null(times))
            frame = frame.with_columns({name: times}).refuse(lost, Reason.WRONG_TYPE, f"{name} is no time")
        return frame

    def _of_numbers(self, column: pa.Array) -> pa.Array:
        numbers = pc.multiply(column.cast(pa.float64(), safe=False), 1000.0 if self.unit == "s" else 1.0)
        whole = pc.floor(numbers)
        usable = pc.and_(pc.is_finite(whole), pc.less(pc.abs(whole), _LARGEST_EXACT))
        return pc.if_else(usable, whole, None).cast(pa.int64()).cast(pa.timestamp("ms"))


_LARGEST_EXACT: Final = float(2**53)


def _texts(frame: Frame, name: str) -> pa.Array:
    column = frame.column(name)
    if type_of(column) is not ColumnType.STRING:
        raise MistakeError(f"{name!r} is {type_of(column)}, not a text", remedy="leave this step out, or name a text")
    return column


def cast_column(frame: Frame, name: str, target: ColumnType) -> Frame:
    """Cast one column; rows whose value has no equal in the target type are refused.

    Raises:
        MistakeError: No value of the column's type can become one of the target type.
    """
    column = frame.column(name)
    origin = type_of(column)
    if origin is target:
        return frame
    usable = _usable(column, origin, target)
    if usable is None:
        raise MistakeError(f"{name!r} is {origin}, which cannot become {target}", remedy=f"see {_PATHS}")
    lost = pc.and_(pc.is_valid(column), pc.invert(pc.fill_null(usable, True)))  # noqa: FBT003 -- Arrow's signature
    frame = frame.refuse(lost, Reason.WRONG_TYPE, f"{name} has no equal in {target}")
    return frame.with_columns({name: _convert(frame.column(name), origin, target)})


_PATHS: Final = "to_timestamp and date_parts for times; numbers, truth values and texts become each other"


def _usable(column: pa.Array, origin: ColumnType, target: ColumnType) -> pa.Array | None:  # noqa: PLR0911 -- a table of types
    """Which values have an equal in the target type; None where no value can."""
    everything = pa.repeat(pa.scalar(True), len(column))  # noqa: FBT003 -- a value
    if target is ColumnType.STRING:
        return everything
    if origin is ColumnType.STRING:
        pattern = _TRUTH if target is ColumnType.BOOL else _DECIMAL if target.is_float else _INTEGER
        if target is ColumnType.TIMESTAMP:
            return None
        written = pc.match_substring_regex(column, pattern)
        return pc.and_(written, _in_range(column, target, written)) if target is ColumnType.INT32 else written
    if ColumnType.TIMESTAMP in {origin, target}:
        return everything if {origin, target} == {ColumnType.TIMESTAMP, ColumnType.INT64} else None
    if target is ColumnType.BOOL:
        return pc.is_in(column.cast(pa.float64(), safe=False), value_set=pa.array([0.0, 1.0]))
    if target.is_integer and origin is not ColumnType.BOOL:
        return _is_whole(column, origin, target)
    return everything


def _in_range(column: pa.Array, target: ColumnType, written: pa.Array) -> pa.Array:
    numbers = pc.utf8_trim_whitespace(pc.if_else(written, column, None))
    return _is_whole(_unsigned(numbers).cast(pa.int64()), ColumnType.INT64, target)


def _is_whole(column: pa.Array, origin: ColumnType, target: ColumnType) -> pa.Array:
    low, high = (-(2**31), 2**31 - 1) if target is ColumnType.INT32 else (-(2**63), 2**63 - 1)
    if origin.is_integer:
        wide = column.cast(pa.int64())
        return pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high))
    numbers = column.cast(pa.float64())
    # The next float64 above the largest int64 is 2 ** 63: strictly below it everything fits.
    inside = pc.and_(pc.greater_equal(numbers, float(low)), pc.less(numbers, float(high + 1)))
    return pc.and_(inside, pc.equal(numbers, pc.trunc(numbers)))


def _unsigned(texts: pa.Array) -> pa.Array:
    """Without the leading plus, which Arrow does not read in an integer."""
    return pc.replace_substring_regex(texts, r"^\+", "")


def _convert(column: pa.Array, origin: ColumnType, target: ColumnType) -> pa.Array:
    if origin is ColumnType.STRING and target is not ColumnType.BOOL:
        column = _unsigned(pc.utf8_trim_whitespace(column))
    return column.cast(target.arrow, safe=False)
