"""What a model answers for a batch, whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import FatalError, InvalidRecordError, Reason
from millrace.core.signature import Signature, Task

_EXPORT_AGAIN: Final = "export the model again and push it: admission compares its outputs with its signature"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Scores of n rows, all finite.

    Attributes:
        scores: Shape (n, classes), in the order of the signature's classes; or (n,) predicted values for regression.
        labels: Index into the classes, shape (n,); None for regression.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.intp] | None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[np.intp] | slice) -> "Outputs":
        """These rows, in this order."""
        return Outputs(self.scores[rows], None if self.labels is None else self.labels[rows])


def read_outputs(signature: Signature, raw: Mapping[str, NDArray[np.generic]], rows: int) -> Outputs:
    """Make `Outputs` of what a model returned for `rows` rows.

    A binary model may answer with the score of its second class alone, shape (n,) or (n, 1). Without a label output the
    class is the first one with the highest score.

    Raises:
        FatalError: An output is missing or has another shape or type than the signature says: no record can be scored.
        InvalidRecordError: A score is not finite or a label is no class, which depends on the record: reason
            `model_error`. The caller bisects.
    """
    scores = _scores(signature, raw, rows)
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores.reshape(rows, -1)).all(axis=1)))
        raise InvalidRecordError(Reason.MODEL_ERROR, f"the model's score is not finite in row {row} of {rows}")
    if signature.task is Task.REGRESSION:
        return Outputs(scores, None)
    if signature.label_output is None:
        return Outputs(scores, _highest(scores))
    return Outputs(scores, _labels(signature, _output(raw, signature.label_output), rows))


def _scores(signature: Signature, raw: Mapping[str, NDArray[np.generic]], rows: int) -> NDArray[np.float32]:
    found = _output(raw, signature.score_output)
    if found.dtype.kind not in "fiu":
        raise FatalError(
            f"output {signature.score_output!r} has type {found.dtype} instead of numbers", remedy=_EXPORT_AGAIN
        )
    # A double beyond the range of a float becomes infinite, which the caller refuses as not finite.
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN like others
        scores = found.astype(np.float32, copy=False)
    if signature.task is Task.REGRESSION and found.shape in {(rows,), (rows, 1)}:
        return scores.reshape(rows)
    if signature.task is Task.BINARY and found.shape in {(rows,), (rows, 1)}:
        second = scores.reshape(rows)
        return np.stack((np.float32(1) - second, second), axis=1)
    if signature.classes and found.shape == (rows, len(signature.classes)):
        return scores
    expected = (rows, len(signature.classes)) if signature.classes else (rows,)
    raise FatalError(
        f"output {signature.score_output!r} has shape {found.shape} for {rows} rows instead of {expected}",
        remedy=_EXPORT_AGAIN,
    )


def _highest(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    if scores.shape[1] == 2:  # several times quicker than argmax over an axis of two
        second: NDArray[np.intp] = np.greater(scores[:, 1], scores[:, 0]).astype(np.intp)
        return second
    first: NDArray[np.intp] = np.argmax(scores, axis=1)
    return first


def _labels(signature: Signature, found: NDArray[np.generic], rows: int) -> NDArray[np.intp]:
    if found.size != rows:
        raise FatalError(
            f"output {signature.label_output!r} has shape {found.shape} for {rows} rows", remedy=_EXPORT_AGAIN
        )
    index = {name: position for position, name in enumerate(signature.classes)}
    try:
        return np.fromiter(map(index.__getitem__, map(str, found.reshape(rows).tolist())), np.intp, rows)
    except KeyError as error:
        raise InvalidRecordError(Reason.MODEL_ERROR, f"the model's label {error} is none of its classes") from None


def _output(raw: Mapping[str, NDArray[np.generic]], name: str) -> NDArray[np.generic]:
    try:
        return raw[name]
    except KeyError:
        raise FatalError(f"the model has no output {name!r}, only {sorted(raw)}", remedy=_EXPORT_AGAIN) from None
