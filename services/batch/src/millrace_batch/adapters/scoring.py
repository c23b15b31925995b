"""Tables of features to tables of predictions, with the transform and the engine of every other door."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.codec.tables import decode_table
from millrace.core.outputs import Outputs
from millrace.core.signature import DType, Signature
from millrace.serving.engine import Engine
from millrace.serving.loading import LoadedModel
from millrace.transform import Column, ColumnType, Program, Transform
from millrace_batch.adapters.reading import Piece

SOURCE: Final = "source_file"
ROW: Final = "source_row"

_COLUMN_TYPES: Final[Mapping[DType, ColumnType]] = {
    DType.FLOAT32: ColumnType.FLOAT32,
    DType.FLOAT64: ColumnType.FLOAT64,
    DType.INT32: ColumnType.INT32,
    DType.INT64: ColumnType.INT64,
    DType.BOOL: ColumnType.BOOL,
    DType.STRING: ColumnType.STRING,
}


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be scored: its number in the file, the reason from the closed list, and what is wrong."""

    row: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ScoredPiece:
    """What became of a piece: predictions with the kept columns, None for none, and the rows that cannot be scored."""

    table: pa.Table | None
    refused: Sequence[RefusedRow]


class TableScoring:
    """Scores pieces of files with one model. See `score`.

    Args:
        model: The model.
        program: Makes the model's features of the file's columns, where the model has no transform of its own; None
            where the file has them.
        keep: Columns of the file that are copied.

    Raises:
        RequestError: The model was trained with another transform.
    """

    def __init__(self, model: LoadedModel, program: Program | None, keep: Sequence[str]) -> None:
        self._engine = Engine(model.runtime)  # nobody audits files: their bins are not looked for
        self._signature = model.bundle.signature
        self._program = model.bundle.program_for(program)
        self._texts = None if self._program else _reading_texts(self._signature)
        self._keep = tuple(keep)

    def columns(self) -> dict[str, pa.DataType | None]:
        """The columns that are wanted of a file, with the types that texts are read as."""
        declared = self._program.transform.input if self._program else _declared(self._signature)
        types = {column.name: column.type.arrow for column in declared}
        wanted = types or {feature.name: None for feature in self._signature.features}
        return {**dict.fromkeys(self._keep), **wanted}

    def score(self, piece: Piece, *, path: str) -> ScoredPiece:
        """Score every row or say why not.

        Raises:
            RequestError: The file lacks a column, or has one of a type that cannot be read.
            FatalError: No row can be scored.
        """
        refused = [RefusedRow(row, reason.value, detail) for row, reason, detail in piece.unreadable]
        table, rows = piece.table, np.arange(piece.table.num_rows)
        program = self._program or (self._texts if _has_texts(table, self._signature) else None)
        if program is not None:
            made = program.apply(table)
            refused += [RefusedRow(int(piece.rows[each.row]), each.reason, each.detail) for each in made.refused]
            table, rows = pa.Table.from_batches([made.table]), made.source
        decoded = decode_table(table, self._signature)
        refused += [
            RefusedRow(int(piece.rows[rows[each.row]]), each.error.reason.value, each.error.detail)
            for each in decoded.rejections
        ]
        rows = rows[decoded.source]
        if not len(rows):
            return ScoredPiece(None, refused)
        inference = self._engine.infer(decoded.columns)
        refused += [
            RefusedRow(int(piece.rows[rows[row]]), error.reason.value, error.detail) for row, error in inference.refused
        ]
        rows = rows[inference.scored]
        return ScoredPiece(self._table(piece, rows, inference.outputs, path) if len(rows) else None, refused)

    def _table(self, piece: Piece, rows: NDArray[np.intp], outputs: Outputs, path: str) -> pa.Table:
        kept = {name: _kept(piece.table, name).take(pa.array(rows)) for name in self._keep}
        where = {SOURCE: pa.repeat(pa.scalar(path), len(rows)), ROW: pa.array(piece.rows[rows], pa.int64())}
        return pa.table({**where, **kept, **_answers(self._signature, outputs)})


def _declared(signature: Signature) -> Sequence[Column]:
    """The features as columns; none where a feature is a tensor, which texts cannot be."""
    if any(feature.shape for feature in signature.features):
        return ()
    return [Column(name=each.name, type=_COLUMN_TYPES[each.dtype], nullable=True) for each in signature.features]


def _reading_texts(signature: Signature) -> Program | None:
    """What makes features of texts, for files that know no types."""
    columns = _declared(signature)
    return Program.of(Transform(transform="texts", input=tuple(columns))) if columns else None


def _has_texts(table: pa.Table, signature: Signature) -> bool:
    return any(
        feature.dtype is not DType.STRING
        and feature.name in table.column_names
        and pa.types.is_string(table.schema.field(feature.name).type)
        for feature in signature.features
    )


def _kept(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name in table.column_names and not pa.types.is_null(table.schema.field(name).type):
        return table.column(name)
    return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])


def _answers(signature: Signature, outputs: Outputs) -> dict[str, pa.Array]:
    if outputs.labels is None:
        return {"value": pa.array(outputs.scores)}
    codes, classes = pa.array(outputs.labels, pa.int32()), pa.array(signature.classes, pa.string())
    labels = pa.DictionaryArray.from_arrays(codes, classes).dictionary_decode()
    scores = np.ascontiguousarray(outputs.scores.T)
    return {
        "label": labels,
        **{f"score_{name}": pa.array(row) for name, row in zip(signature.classes, scores, strict=True)},
    }
