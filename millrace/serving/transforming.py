"""A model's transform in front of it: from what records bring to the model's features, the same behind every door."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.codec.tables import decode_table, table_of
from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.signature import DType, Feature, ModelInput, NotFinite, Signature
from millrace.transform import Column, ColumnType, Program, Window

_IN_RECORDS: Final = {ColumnType.TIMESTAMP: DType.INT64}
"""How a record has values that are written in JSON and Avro as something else."""


class UntransformableError(InvalidRecordError):
    """The model's transform refuses a row.

    Args:
        reason: Why, from the closed list.
        detail: The same in words, with the step.
        step: The step's number, from 1; 0 for the input's columns, one more than there are steps for the output's.
    """

    def __init__(self, reason: Reason, detail: str, *, step: int) -> None:
        super().__init__(reason, detail)
        self.step = step


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a transform made of n rows.

    Attributes:
        columns: The rows that are left, as the model wants them.
        source: intp, the number of each of them among the n, ascending.
        refused: Rows that cannot be transformed, ascending. A row in neither was left out by a filter.
    """

    columns: FeatureColumns
    source: NDArray[np.intp]
    refused: tuple[tuple[int, UntransformableError], ...]


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes the rows of a model of rows as they come. Safe to use from several threads.

    Attributes:
        program: The transform.
        signature: The model's own.
    """

    program: Program
    signature: Signature

    def prepare(self, columns: FeatureColumns) -> Prepared:
        """Transform rows of the signature that `accepted_signature` gives."""
        return self.prepare_table(table_of(columns))

    def prepare_table(self, table: pa.Table) -> Prepared:
        """Transform rows of a table.

        Raises:
            RequestError: The table lacks a column, or one is of a type that cannot be read as the declared one.
        """
        made = self.program.apply(table)
        decoded = decode_table(pa.Table.from_batches([made.table]), self.signature)
        refused = [
            (each.row, UntransformableError(each.reason, f"{self._place(each.step)}: {each.detail}", step=each.step))
            for each in made.refused
        ]
        last = len(self.program.transform.steps) + 1
        for rejection in decoded.rejections:
            error = rejection.error
            detail = f"{self._place(last)}: {error.detail}"
            refused.append((int(made.source[rejection.row]), UntransformableError(error.reason, detail, step=last)))
        return Prepared(decoded.columns, made.source[decoded.source], tuple(sorted(refused, key=lambda each: each[0])))

    def _place(self, step: int) -> str:
        steps = self.program.transform.steps
        if 1 <= step <= len(steps):
            return f"step {step} ({steps[step - 1].step})"
        return "input" if step == 0 else "output"


def accepted_signature(program: Program, model: Signature) -> Signature:
    """What records must bring for a model with a transform, and what they are answered: its columns, one input each.

    Infinite values are let through, because a step may take them; what the model takes is checked behind the transform.

    Raises:
        RequestError: A column may be missing that a record cannot leave out.
    """
    columns = program.transform.input
    features = tuple(_feature(program, column) for column in columns)
    inputs = tuple(ModelInput(column.name, (column.name,)) for column in columns)
    return replace(model, features=features, inputs=inputs, not_finite=NotFinite.ALLOW)


def check_fits(program: Program, signature: Signature) -> None:
    """Check that a transform makes the features of a model, row by row.

    Raises:
        RequestError: It looks at other rows, or a feature does not leave it, or as another type.
    """
    transform = program.transform
    for number, step in enumerate(transform.steps, start=1):
        if step.is_stateful:
            raise RequestError(
                f"transform {transform.transform}: step {number} ({step.step}) looks at other rows, which a model's "
                "transform cannot",
                remedy=_REMEDY_WINDOW if isinstance(step, Window) else "do it before the topic, or without a model",
            )
    made = {column.name: column.type for column in program.check()}
    for feature in signature.features:
        if feature.name not in made:
            raise RequestError(
                f"transform {transform.transform}: its output has no column {feature.name!r}, a feature of the model",
                remedy=f"columns that leave it: {', '.join(made)}",
            )
        if feature.shape or not _is_readable(made[feature.name], feature.dtype):
            raise RequestError(
                f"transform {transform.transform}: its output {feature.name!r} is {made[feature.name]}, and the model "
                f"wants {feature.dtype}{list(feature.shape) or ''}",
                remedy=f"cast it in the last step: {{step: cast, columns: {{{feature.name}: {feature.dtype}}}}}",
            )


_REMEDY_WINDOW: Final = (
    "let a topology write its windows to a topic, and deploy the model on that one: docs/guides/transforms.md"
)


def _feature(program: Program, column: Column) -> Feature:
    dtype = DType(_IN_RECORDS.get(column.type, column.type).value)
    if column.nullable and not column.type.is_float:
        raise RequestError(
            f"transform {program.transform.transform}: input {column.name!r} is {column.type} and nullable, which a "
            "record's field cannot be",
            remedy="declare it float64 and cast it in a step, or not nullable",
        )
    return Feature(column.name, dtype, nullable=column.nullable)


def _is_readable(made: ColumnType, wanted: DType) -> bool:
    if wanted in {DType.FLOAT32, DType.FLOAT64}:
        return made.is_number
    if wanted in {DType.INT32, DType.INT64}:
        return made.is_integer
    return made.value == wanted.value
