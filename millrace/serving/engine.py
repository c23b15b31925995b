"""The engine behind every door: feature columns to outputs and bins, whatever brought the columns.

A batch that the model refuses is cut until the refused rows stand alone; their neighbours are scored.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.bisection import split_good
from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError
from millrace.core.outputs import Outputs
from millrace.core.profile import Binner


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
        scored: intp, the rows that have outputs, ascending; every row not in `refused`.
        outputs: One per scored row.
        bins: One base-36 text per scored row, a character per profiled feature; none of an engine without a binner.
        refused: Rows that the model refuses, with the reason, ascending.
    """

    scored: NDArray[np.intp]
    outputs: Outputs
    bins: list[bytes]
    refused: tuple[tuple[int, InvalidRecordError], ...] = ()


class Engine:
    """One model version ready to score. Safe to use from several threads if its runtime is.

    Args:
        runtime: What runs the model.
        binner: Finds the bins of the rows; None where nobody will audit the answers.
    """

    def __init__(self, runtime: Infers, binner: Binner | None = None) -> None:
        self._runtime = runtime
        self._binner = binner

    def infer(self, columns: FeatureColumns) -> Inference:
        """Score the rows, at least one, and find their bins.

        Raises:
            FatalError: No row can be scored.
        """
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

    def infer_whole(self, columns: FeatureColumns) -> Inference:
        """Score the rows, at least one, all of them or none: one call of the model, whatever happens.

        Raises:
            InvalidRecordError: The model refuses some row.
            FatalError: No row can be scored.
        """
        return Inference(np.arange(len(columns)), self._runtime.infer(columns), self._bins(columns))

    def _bins(self, columns: FeatureColumns) -> list[bytes]:
        return [] if self._binner is None else self._binner.strings(columns)


def _join(pieces: list[Outputs]) -> Outputs:
    if not pieces:
        return Outputs(np.empty((0, 0), np.float32), None)
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    scores = np.concatenate([piece.scores for piece in pieces])
    return Outputs(scores, np.concatenate(labels) if labels else None)
