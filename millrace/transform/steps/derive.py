"""Steps that make columns of columns: compute, date_parts, parse_json."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from millrace.core.bisection import split_good
from millrace.core.errors import Reason
from millrace.transform.expressions import parse
from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import ColumnName, Learned, Step
from millrace.transform.types import ColumnType, type_of


class Compute(Step):
    """Put the value of an expression into a column. See `millrace.transform.expressions`."""

    step: Literal["compute"]
    into: ColumnName
    """The column, new or not."""
    expression: str
    """What to compute: `(temp_f - 32) / 1.8`."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        return frame.with_columns({self.into: parse(self.expression)(frame)})


class DateParts(Step):
    """Take times apart: `into` columns named `<column>_<part>` (int64)."""

    step: Literal["date_parts"]
    column: ColumnName
    """A column of times."""
    parts: Annotated[
        tuple[Literal["year", "quarter", "month", "week", "day", "day_of_year", "weekday", "hour", "minute"], ...],
        Field(min_length=1),
    ]
    """Which parts; a week's first day is Monday and has the number 0."""
    timezone: str = "UTC"
    """Where the clock hangs that is read."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        column = frame.column(self.column)
        if type_of(column) is not ColumnType.TIMESTAMP:
            raise MistakeError(f"{self.column!r} is {type_of(column)}, not a time", remedy="add a to_timestamp step")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise MistakeError(f"there is no timezone {self.timezone!r}", remedy="write it as Europe/Berlin") from None
        local = pc.assume_timezone(column, "UTC").cast(pa.timestamp("ms", self.timezone))
        return frame.with_columns(
            {f"{self.column}_{part}": _PARTS[part](local).cast(pa.int64()) for part in self.parts}
        )


_PARTS: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "day": pc.day,
    "day_of_year": pc.day_of_year,
    "weekday": pc.day_of_week,
    "hour": pc.hour,
    "minute": pc.minute,
}

_JSON_TYPES: Final[Mapping[ColumnType, Any]] = {
    ColumnType.BOOL: bool,
    ColumnType.INT32: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    ColumnType.INT64: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    ColumnType.FLOAT32: float,
    ColumnType.FLOAT64: float,
    ColumnType.STRING: str,
    ColumnType.TIMESTAMP: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
}


class ParseJson(Step):
    """Read fields out of JSON objects in a column of texts.

    A field that is absent is null; a text that is no such object refuses its row.
    """

    step: Literal["parse_json"]
    column: ColumnName
    """A column of texts; it stays."""
    fields: Annotated[Mapping[ColumnName, ColumnType], Field(min_length=1)]
    """Types by field; each becomes a column of its name."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        column = frame.column(self.column)
        if type_of(column) is not ColumnType.STRING:
            raise MistakeError(f"{self.column!r} is {type_of(column)}, not a text", remedy="name a column of texts")
        rows, whole = self._read(column.fill_null("{}").to_pylist())
        frame = frame.refuse(
            pa.array(~whole), Reason.MALFORMED, f"{self.column} is no JSON object of the fields that are read"
        )
        # A row is a struct: C makes tuples of them and transposes these.
        values = list(zip(*map(msgspec.structs.astuple, rows), strict=True)) or [()] * len(self.fields)
        columns = {
            name: pa.array(column, column_type.arrow)
            for (name, column_type), column in zip(self.fields.items(), values, strict=True)
        }
        return frame.with_columns(columns)

    def _read(self, texts: list[str]) -> tuple[list[msgspec.Struct], NDArray[np.bool_]]:
        """The objects that can be read, and which texts these are."""
        names = [
            (f"field_{number}", _JSON_TYPES[kind] | None, None) for number, kind in enumerate(self.fields.values())
        ]
        renamed = dict(zip((name for name, *_ in names), self.fields, strict=True))
        row = msgspec.defstruct("Row", names, rename=renamed, frozen=True)
        decode = msgspec.json.Decoder(row).decode

        def attempt(span: slice) -> list[msgspec.Struct] | None:
            try:
                return list(map(decode, texts[span]))
            except (msgspec.DecodeError, RecursionError):
                return None

        rows: list[msgspec.Struct] = []
        whole = np.zeros(len(texts), np.bool_)
        for span, decoded in split_good(attempt, len(texts)):
            if decoded is not None:
                rows.extend(decoded)
                whole[span] = True
        return rows, whole
