"""Column types of transforms, and which of them fit where."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import pyarrow as pa

from millrace.transform.mistake import MistakeError


class ColumnType(StrEnum):
    """Type of a column, as a transform's document writes it."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"
    """Milliseconds since 1970 in UTC."""

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type."""
        return _ARROW[self]

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is possible. Truth values and times are no numbers."""
        return self in _NUMBERS

    @property
    def is_float(self) -> bool:
        """Whether NaN and infinity are possible."""
        return self in {ColumnType.FLOAT32, ColumnType.FLOAT64}

    @property
    def is_integer(self) -> bool:
        """Whether every value is a whole number."""
        return self in {ColumnType.INT32, ColumnType.INT64}


_NUMBERS: Final = frozenset({ColumnType.INT32, ColumnType.INT64, ColumnType.FLOAT32, ColumnType.FLOAT64})

_ARROW: Final[Mapping[ColumnType, pa.DataType]] = {
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INT32: pa.int32(),
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT32: pa.float32(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.STRING: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("ms"),
}

_OF_ARROW: Final = {arrow: column for column, arrow in _ARROW.items()}


def plain_array(name: str, column: pa.Array | pa.ChunkedArray, wanted: ColumnType) -> pa.Array:
    """A column of anybody's table as one array of a column type: the nearest one to what it is.

    Raises:
        MistakeError: It holds something that no column of a transform can: lists, structs, bytes.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if kind in _OF_ARROW:
        return array
    if pa.types.is_null(kind):
        return array.cast(wanted.arrow)
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.float64())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_temporal(kind) and not (pa.types.is_time(kind) or pa.types.is_duration(kind)):
        return array.cast(pa.timestamp("us")).cast(pa.timestamp("ms"), safe=False)
    raise MistakeError(f"{name!r} is {kind}, which no step takes", remedy=f"write it as {wanted}, or leave it out")


def type_of(array: pa.Array) -> ColumnType:
    """The type of a column that a transform made."""
    return _OF_ARROW[array.type]
