"""A transform at work: learnt from a table once, applied to tables ever after."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millrace.core.errors import Reason, RequestError
from millrace.transform.document import Column, Transform
from millrace.transform.frame import Frame, Refused
from millrace.transform.mistake import MistakeError
from millrace.transform.steps import Learned, Step
from millrace.transform.steps.casts import cast_column
from millrace.transform.types import plain_array, type_of

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Transformed:
    """What became of n rows.

    Attributes:
        table: The m rows that are left, with the transform's output columns.
        source: intp, shape (m,): the number of each of them in the table that was given. Ascending,
            unless the transform has a window: then the last row of each, in the order of the windows.
        refused: Rows that cannot be transformed, with the step and the reason, ascending by row. A row that is in
            neither was left out by a filter.
        late: How many rows came too late for a window.
    """

    table: pa.RecordBatch
    source: NDArray[np.intp]
    refused: tuple[Refused, ...]
    late: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A transform with all that it had to learn. Safe to use from several threads.

    Attributes:
        transform: The document.
        learned: What each step learnt, one entry per step.
    """

    transform: Transform
    learned: tuple[Learned, ...]

    @classmethod
    def fit(cls, transform: Transform, table: pa.Table | pa.RecordBatch) -> Self:
        """Learn from a table what the steps must know: means, quantiles, categories.

        Args:
            transform: The document.
            table: Rows with the transform's input columns.

        Raises:
            RequestError: A step cannot work on these columns, or has nothing to learn from; names the step's number.
        """
        frame, learned = _take_in(transform, table), list[Learned]()
        for number, step in enumerate(transform.steps, start=1):
            frame = frame.at_step(number)
            with _Blame(transform, _place(number, step)):
                learned.append(step.learn(frame))
                frame = step.run(frame, learned[-1])
        program = cls(transform, tuple(learned))
        program.check()
        return program

    @classmethod
    def of(cls, transform: Transform) -> Self:
        """A transform that has nothing to learn.

        Raises:
            RequestError: A step cannot work, or would have to learn; names the step's number.
        """
        for number, step in enumerate(transform.steps, start=1):
            if step.needs_fit:
                raise RequestError(
                    f"transform {transform.transform}: step {number} ({_kind(step)}) must be fitted on data",
                    remedy=f"run `millrace transform fit`, or give step {number} its values",
                )
        program = cls(transform, ({},) * len(transform.steps))
        program.check()
        return program

    def check(self) -> tuple[Column, ...]:
        """The columns that leave; found out by sending no rows through all steps.

        Raises:
            RequestError: A step cannot work on the columns that reach it; names the step's number.
        """
        nothing = pa.table({column.name: pa.array([], column.type.arrow) for column in self.transform.input})
        made = self.apply(nothing).table
        if self.transform.output is not None:
            return self.transform.output
        return tuple(Column(name=name, type=type_of(made.column(name)), nullable=True) for name in made.schema.names)

    def apply(self, table: pa.Table | pa.RecordBatch) -> Transformed:
        """Transform rows. A row's values never depend on the other rows, unless the transform is stateful.

        Raises:
            RequestError: The table lacks a column, or one is of a type that cannot be read as the declared one.
        """
        frame = _take_in(self.transform, table)
        for number, (step, learned) in enumerate(zip(self.transform.steps, self.learned, strict=True), start=1):
            with _Blame(self.transform, _place(number, step)):
                frame = step.run(frame.at_step(number), learned)
        frame = _let_out(self.transform, frame)
        batch = pa.RecordBatch.from_arrays(list(frame.columns.values()), names=list(frame.columns))
        refused = tuple(sorted(frame.refused, key=lambda refused: refused.row))
        return Transformed(batch, frame.rows, refused, frame.late)

    def document(self) -> dict[str, Any]:
        """Document and statistics as JSON values; `load` reads them back as an equal program."""
        return {"format": _FORMAT, "transform": self.transform.document(), "learned": list(map(dict, self.learned))}

    @classmethod
    def load(cls, document: Mapping[str, Any], *, subject: str) -> Self:
        """Read what `document` returned.

        Raises:
            RequestError: It is no such document.
        """
        transform, learned = document.get("transform"), document.get("learned")
        if document.get("format") != _FORMAT or not isinstance(transform, Mapping) or not isinstance(learned, Sequence):
            raise RequestError(
                f"{subject} is no fitted transform", remedy="export it again: `millrace transform export`"
            )
        read = Transform.parse(transform, subject=subject)
        if len(learned) != len(read.steps) or not all(isinstance(each, Mapping) for each in learned):
            raise RequestError(f"{subject} does not say what each step learnt", remedy="fit it again")
        return cls(read, tuple(learned))

    @property
    def fingerprint(self) -> str:
        """`sha256:...` of the document and all that was learnt; equal programs have equal ones, from any process."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class _Blame:
    """Turns a mistake into an error that names the transform and the place: the input, a step's number, the output."""

    def __init__(self, transform: Transform, place: str) -> None:
        self._where = f"transform {transform.transform}: {place}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case MistakeError(problem=problem, remedy=remedy):
                raise RequestError(f"{self._where}: {problem}", remedy=remedy) from None
            case pa.ArrowInvalid() | pa.ArrowNotImplementedError() | pa.ArrowTypeError():
                first = str(error).partition("\n")[0]
                raise RequestError(f"{self._where}: {first}", remedy="check the types of the columns here") from None


def _place(number: int, step: Step) -> str:
    return f"step {number} ({_kind(step)})"


def _kind(step: Step) -> str:
    return str(getattr(step, "step", type(step).__name__))


def _take_in(transform: Transform, table: pa.Table | pa.RecordBatch) -> Frame:
    """The declared columns of a table, of the declared types."""
    with _Blame(transform, "input"):
        columns = {}
        for column in transform.input:
            if column.name not in table.schema.names:
                known = ", ".join(table.schema.names) or "none"
                raise MistakeError(f"there is no column {column.name!r}", remedy=f"columns of the table: {known}")
            columns[column.name] = _present(plain_array(column.name, table.column(column.name), column.type))
        frame = Frame(columns, np.arange(table.num_rows, dtype=np.intp))
        return _conform(frame, transform.input)


def _present(column: pa.Array) -> pa.Array:
    """What is not a number is missing: the formats of streams and files do not agree on how to tell the two apart."""
    if not type_of(column).is_float or not pc.any(pc.is_nan(column), min_count=0).as_py():
        return column
    return pc.if_else(pc.is_nan(column), None, column)


def _let_out(transform: Transform, frame: Frame) -> Frame:
    if transform.output is None:
        return frame
    with _Blame(transform, "output"):
        columns = frame.at_step(len(transform.steps) + 1).only([column.name for column in transform.output])
        return _conform(columns, transform.output)


def _conform(frame: Frame, columns: Sequence[Column]) -> Frame:
    """Of the declared types, and no value missing that may not be."""
    for column in columns:
        frame = cast_column(frame, column.name, column.type)
        if not column.nullable:
            missing = pc.is_null(frame.column(column.name))
            frame = frame.refuse(missing, Reason.MISSING_FIELD, f"{column.name} is missing")
    return frame
