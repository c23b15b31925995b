"""The engine behind every door: columns to outputs and bins, whatever brought the columns.

The model's transform comes first, where it has one. A batch that the model refuses is cut until the refused rows stand
alone; their neighbours are scored.
"""

from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.binning import Binner
from millrace.core.bisection import split_good
from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.serving.transforming import Preparation, Prepared


class Infers(Protocol):
    """What the engine needs of a runtime."""

    def infer(self, columns: FeatureColumns) -> Outputs:
        """Score every row.

        Raises:
            InvalidRecordError: Some row cannot be scored; which one is not said.
            FatalError: No row can be scored.
        """
        ...


@dataclass(frozen=True, slots=True)
class Inference:
    """What the engine made of n rows.

    Attributes:
        scored: intp, the rows that have outputs, ascending.
        outputs: One per scored row.
        bins: One base-36 text per scored row, a character per profiled feature; none of an engine without a binner.
        refused: Rows that the model or its transform refuses, with the reason, ascending. A row that is neither scored
            nor refused was left out by a filter of the transform.
    """

    scored: NDArray[np.intp]
    outputs: Outputs
    bins: list[bytes]
    refused: tuple[tuple[int, InvalidRecordError], ...] = ()

    def answering(self, rows: int) -> "Inference":
        """The same with the rows that were left out among those refused: for whoever waits for each of so many rows."""
        if len(self.scored) + len(self.refused) == rows:
            return self
        known = np.union1d(self.scored, np.array([row for row, _ in self.refused], np.intp))
        gone = [(int(row), _LEFT_OUT) for row in np.setdiff1d(np.arange(rows), known)]
        return replace(self, refused=tuple(sorted([*self.refused, *gone], key=lambda each: each[0])))


_LEFT_OUT: Final = InvalidRecordError(Reason.LEFT_OUT, "a filter of the model's transform leaves it out")


class Engine:
    """One model version ready to score. Safe to use from several threads if its runtime is.

    Args:
        runtime: What runs the model.
        binner: Finds the bins of the rows; None where nobody will audit the answers.
        preparation: Makes the model's rows of those that are given; None where they are the model's already.
    """

    def __init__(self, runtime: Infers, binner: Binner | None = None, preparation: Preparation | None = None) -> None:
        self._runtime = runtime
        self._binner = binner
        self._preparation = preparation

    def infer(self, columns: FeatureColumns) -> Inference:
        """Score the rows, at least one, and find their bins.

        Raises:
            FatalError: No row can be scored.
        """
        if self._preparation is None:
            return self._infer(columns)
        prepared = self._preparation.prepare(columns)
        if not len(prepared.columns):
            return Inference(prepared.source, _join([]), [], prepared.refused)
        return _placed(self._infer(prepared.columns), prepared)

    def infer_whole(self, columns: FeatureColumns) -> Inference:
        """Score the rows, at least one, all that the transform leaves or none: one call of the model at most.

        Raises:
            InvalidRecordError: The model or its transform refuses some row.
            FatalError: No row can be scored.
        """
        if self._preparation is None:
            return Inference(np.arange(len(columns)), self._runtime.infer(columns), self._bins(columns))
        prepared = self._preparation.prepare(columns)
        if prepared.refused:
            raise prepared.refused[0][1]
        if not len(prepared.columns):
            return Inference(prepared.source, _join([]), [])
        return Inference(prepared.source, self._runtime.infer(prepared.columns), self._bins(prepared.columns))

    def _infer(self, columns: FeatureColumns) -> Inference:
        reasons: dict[int, InvalidRecordError] = {}

        def attempt(rows: slice) -> Outputs | None:
            whole = rows.stop - rows.start == len(columns)
            try:
                return self._runtime.infer(columns if whole else columns.take(rows))
            except InvalidRecordError as error:
                reasons[rows.start] = error
                return None

        pieces: list[Outputs] = []
        refused: list[tuple[int, InvalidRecordError]] = []
        for rows, outputs in split_good(attempt, len(columns)):
            if outputs is None:
                refused.append((rows.start, reasons[rows.start]))
            else:
                pieces.append(outputs)
        if not refused:
            return Inference(np.arange(len(columns)), pieces[0], self._bins(columns))
        scored = np.delete(np.arange(len(columns)), [row for row, _ in refused])
        bins = self._bins(columns.take(scored))
        return Inference(scored, _join(pieces), bins, tuple(refused))

    def _bins(self, columns: FeatureColumns) -> list[bytes]:
        return [] if self._binner is None else self._binner.strings(columns)


def _placed(inference: Inference, prepared: Prepared) -> Inference:
    """What was made of prepared rows, by the numbers of the rows that were given."""
    refused = [(int(prepared.source[row]), error) for row, error in inference.refused]
    in_order = tuple(sorted([*prepared.refused, *refused], key=lambda each: each[0])) if refused else prepared.refused
    return replace(inference, scored=prepared.source[inference.scored], refused=in_order)


def _join(pieces: list[Outputs]) -> Outputs:
    if not pieces:
        return Outputs(np.empty((0, 0), np.float32), None)
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    scores = np.concatenate([piece.scores for piece in pieces])
    return Outputs(scores, np.concatenate(labels) if labels else None)
