"""ETL as a JSON document: one implementation for the scorer, for training, for files and for other engines.

A `Transform` is the document. A `Program` is a transform with what it had to learn; it makes tables of tables, by
Arrow's columnar functions and never row by row.
"""

from millrace.transform.document import Column, Transform, json_schema
from millrace.transform.frame import Refused
from millrace.transform.program import Program, Transformed
from millrace.transform.steps.windows import Aggregate, Function, Window
from millrace.transform.streaming import (
    Closed,
    Emitted,
    Folded,
    KeyFold,
    Readings,
    State,
    StreamWindows,
    WindowedTransform,
)
from millrace.transform.types import ColumnType

__all__ = [
    "Aggregate",
    "Closed",
    "Column",
    "ColumnType",
    "Emitted",
    "Folded",
    "Function",
    "KeyFold",
    "Program",
    "Readings",
    "Refused",
    "State",
    "StreamWindows",
    "Transform",
    "Transformed",
    "Window",
    "WindowedTransform",
    "json_schema",
]
