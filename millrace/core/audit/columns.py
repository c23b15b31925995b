"""The columns that go into the join and come out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of one partition, as columns of one length.

    Attributes:
        event_ids: The events that were scored.
        event_times_ms: int64; when they happened.
        versions: int64; model versions, below 2**31.
        segments: int64; the segment of each event.
        predicted: int64; index of the predicted class, 0 for regression.
        scores: float64, shape (n, score columns).
    """

    event_ids: Sequence[bytes]
    event_times_ms: NDArray[np.int64]
    versions: NDArray[np.int64]
    segments: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of one partition, as columns of one length.

    Attributes:
        event_ids: The events that the labels are about.
        labels: float64; index of the true class (-1: no class of the model), or the true value.
        label_times_ms: int64; when the truth became known.
        revisions: int64, 0 or more.
        retracted: bool; whether the record takes the label back.
        weights: float64, above 0; how much each label counts in weighted metrics. None for 1 each.
    """

    event_ids: Sequence[bytes]
    labels: NDArray[np.float64]
    label_times_ms: NDArray[np.int64]
    revisions: NDArray[np.int64]
    retracted: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Which pane each row belongs to: columns of event time, version and segment."""

    event_times_ms: NDArray[np.int64]
    versions: NDArray[np.int64]
    segments: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelledColumns:
    """Predictions with their labels, as columns of one length: contributions to panes.

    Attributes:
        signs: +1 for a contribution, -1 to take one back.
        predicted: Index of the predicted class; 0 for regression.
        labels: Index of the true class (a negative or fractional one is no class), or the true value.
        scores: Shape (n, score columns).
        delays_ms: From event time to label time.
        weights: How much each label counts in weighted metrics.
    """

    signs: NDArray[np.int64]
    predicted: NDArray[np.int64]
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    delays_ms: NDArray[np.int64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.signs)

    def take(self, rows: NDArray[np.generic]) -> "LabelledColumns":
        """These rows, given as a mask or as indexes."""
        return LabelledColumns(
            self.signs[rows],
            self.predicted[rows],
            self.labels[rows],
            self.scores[rows],
            self.delays_ms[rows],
            self.weights[rows],
        )


@dataclass(frozen=True, slots=True)
class Joined:
    """What a batch of records adds to the panes.

    Attributes:
        fresh: The rows of the batch that are new predictions; empty for labels.
        labelled: Predictions with their labels, to add (+1) or to take back (-1).
        labelled_at: Their panes.
        credits: int64, shape (m, 4): counts by `CREDITS`.
        credits_at: Their panes.
        late: The rows of the batch that came too late to count, for the late topic.
        late_waiting: Events whose waiting label proved to be late when their prediction came.
    """

    fresh: NDArray[np.int64]
    labelled: LabelledColumns
    labelled_at: Place
    credits: NDArray[np.int64]
    credits_at: Place
    late: NDArray[np.int64]
    late_waiting: Sequence[bytes] = ()


def select(ids: Sequence[bytes], mask: NDArray[np.bool_]) -> Sequence[bytes]:
    """The ids of the rows that the mask names."""
    return ids if mask.all() else list(compress(ids, mask.tolist()))


def at(place: Place, mask: NDArray[np.bool_]) -> Place:
    """The places of the rows that the mask names."""
    return Place(place.event_times_ms[mask], place.versions[mask], place.segments[mask])


def join_places(a: Place, b: Place) -> Place:
    """The rows of both, one after the other."""
    return Place(
        np.concatenate((a.event_times_ms, b.event_times_ms)),
        np.concatenate((a.versions, b.versions)),
        np.concatenate((a.segments, b.segments)),
    )


def join_columns(a: LabelledColumns, b: LabelledColumns) -> LabelledColumns:
    """The rows of both, one after the other."""
    return LabelledColumns(
        np.concatenate((a.signs, b.signs)),
        np.concatenate((a.predicted, b.predicted)),
        np.concatenate((a.labels, b.labels)),
        np.concatenate((a.scores, b.scores)),
        np.concatenate((a.delays_ms, b.delays_ms)),
        np.concatenate((a.weights, b.weights)),
    )
