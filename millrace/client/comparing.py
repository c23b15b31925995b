"""Answers of two versions to the same rows, side by side, to the bit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from millrace.client.predictions import Prediction
from millrace.core.outputs import Outputs

_ROW_BITS: Final = 17
"""A record has 65,536 rows at most."""


def row_keys(offsets: NDArray[np.int64], rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for each row of a partition, ascending with its place."""
    return (offsets.astype(np.int64) << _ROW_BITS) | rows.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to n rows of one partition, ascending by key.

    Attributes:
        keys: As `row_keys` gives them.
        labels: The class of each as text; empty texts for values.
        scores: float32, shape (n, k): a column for each class in the order of the model's, or the value.
    """

    keys: NDArray[np.int64]
    labels: NDArray[np.object_]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of_outputs(cls, keys: NDArray[np.int64], outputs: Outputs, classes: Sequence[str]) -> Self:
        """What an engine answers."""
        scores = np.asarray(outputs.scores, np.float32).reshape(len(keys), -1)
        if outputs.labels is None:
            return cls(keys, np.full(len(keys), "", object), scores)
        return cls(keys, np.array(classes, object)[outputs.labels], scores)

    @classmethod
    def of_predictions(cls, predictions: Sequence[Prediction], classes: Sequence[str]) -> Self:
        """What was predicted, the first time where it was more than once; NaN for a class that a prediction lacks."""
        sources = [each.source for each in predictions]
        keys = row_keys(
            np.array([source.offset for source in sources], np.int64),
            np.array([source.row for source in sources], np.int32),
        )
        scores = [
            [each.scores.get(name, np.nan) for name in classes] if classes else [each.value] for each in predictions
        ]
        labels = np.array([each.label or "" for each in predictions], object)
        table = np.array(scores, np.float32).reshape(len(predictions), max(1, len(classes)))
        return cls.firsts([cls(keys, labels, table)])

    @classmethod
    def firsts(cls, pieces: Sequence[Self]) -> Self:
        """Of several pieces, at least one, the first answer to each row."""
        keys = np.concatenate([piece.keys for piece in pieces])
        labels = np.concatenate([piece.labels for piece in pieces])
        scores = np.concatenate([piece.scores for piece in pieces])
        known, firsts = np.unique(keys, return_index=True)
        return cls(known, labels[firsts], scores[firsts])


@dataclass(frozen=True, slots=True)
class Compared:
    """New answers beside those that were given.

    Attributes:
        place: intp, where in the given answers each new one's row is; -1 where it has none.
        is_equal: Whether label and every score have the same bits; False where none was given.
        is_same: Whether the label is the same, or for values the bits are.
        difference: The greatest difference of a score; NaN where none was given.
    """

    place: NDArray[np.intp]
    is_equal: NDArray[np.bool_]
    is_same: NDArray[np.bool_]
    difference: NDArray[np.float32]

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """Whether an answer was given."""
        return self.place >= 0


def compare(new: Answers, given: Answers) -> Compared:
    """Compare answers row by row. Both are of one partition, and their scores of the same classes."""
    place = np.searchsorted(given.keys, new.keys).astype(np.intp)
    inside = np.minimum(place, max(0, len(given) - 1))
    is_found = (given.keys[inside] == new.keys) if len(given) else np.zeros(len(new), np.bool_)
    here, there = np.flatnonzero(is_found), inside[is_found]
    is_equal, is_same = np.zeros(len(new), np.bool_), np.zeros(len(new), np.bool_)
    difference = np.full(len(new), np.nan, np.float32)
    ours, theirs = np.ascontiguousarray(new.scores[here]), np.ascontiguousarray(given.scores[there])
    has_bits = (ours.view(np.uint32) == theirs.view(np.uint32)).all(axis=1)
    has_label = new.labels[here] == given.labels[there]
    is_equal[here] = has_bits & has_label
    is_same[here] = has_label & (has_bits | (new.labels[here] != ""))
    if len(here):
        difference[here] = np.abs(ours - theirs).max(axis=1)
    return Compared(np.where(is_found, inside, -1), is_equal, is_same, difference)
