"""The counts of one pane: integers only, so that order, sharding, replay and subtraction give identical bytes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import LabelledColumns
from millrace.core.audit.fixed import LARGEST, natural_log, sum_by_group
from millrace.core.audit.layout import COUNTERS, DELAYS, ERRORS, Layout
from millrace.core.errors import RequestError
from millrace.core.profile import DIGITS
from millrace.core.signature import Task

UNREADABLE: Final = 255
"""Stands for a bin character that is no digit of the profile."""

_VALUE_OF_CHARACTER: Final = np.full(256, UNREADABLE, np.uint8)
_VALUE_OF_CHARACTER[np.frombuffer(DIGITS, np.uint8)] = np.arange(len(DIGITS), dtype=np.uint8)

_LEAST_PROBABILITY: Final = 2.0**-52
"""Scores are clipped to this distance from 0 and 1 in the log loss, as scikit-learn clips them."""


@dataclass(frozen=True, slots=True, order=True)
class PaneKey:
    """Which events a pane counts: those of one version and one segment whose event time is in the pane.

    Segments divide the events of a version; the whole is their sum.
    """

    version: int
    segment: int
    start_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """Counts and fixed-point sums of one set of events. A value; `+` merges shards, `-` takes a contribution back.

    Attributes:
        layout: What the counts mean.
        counts: int64, shape (layout.width,).
        sums: Integers of unlimited size, in units of 2**-40, in the order of `layout.sums`.
    """

    layout: Layout
    counts: NDArray[np.int64]
    sums: tuple[int, ...]

    @classmethod
    def empty(cls, layout: Layout) -> Self:
        """A pane that has counted nothing."""
        return cls(layout, np.zeros(layout.width, np.int64), (0,) * len(layout.sums))

    def __add__(self, other: "Pane") -> "Pane":
        self._must_match(other)
        return Pane(
            self.layout,
            self.counts + other.counts,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
        )

    def __sub__(self, other: "Pane") -> "Pane":
        self._must_match(other)
        return Pane(
            self.layout,
            self.counts - other.counts,
            tuple(a - b for a, b in zip(self.sums, other.sums, strict=True)),
        )

    def count(self, name: str) -> int:
        """One of the single counts."""
        return int(self.counts[COUNTERS.index(name)])

    def total(self, name: str) -> int:
        """One of the fixed-point sums."""
        return self.sums[self.layout.sums.index(name)]

    def section(self, name: str) -> NDArray[np.int64]:
        """One section of the counts in its shape; a view."""
        start, shape = self.layout.starts[name], self.layout.shapes[name]
        return self.counts[start : start + int(np.prod(shape))].reshape(shape)

    def feature(self, position: int) -> NDArray[np.int64]:
        """Events per cell of one profiled feature; a view."""
        start = int(self.layout.cell_starts[position])
        return self.section("features")[start : start + int(self.layout.cell_counts[position])]

    def to_json(self) -> bytes:
        """Canonical JSON: panes that counted the same events give the same bytes, in whatever order they came.

        Only counts that are not zero are written, as an index and its count in turn.
        """
        sections = {}
        for name in self.layout.shapes:
            counts = self.section(name).ravel()
            filled = np.flatnonzero(counts)
            sections[name] = np.stack((filled, counts[filled]), axis=1).ravel().tolist()
        document = {
            "layout": self.layout.id,
            "counts": sections,
            "sums": dict(zip(self.layout.sums, self.sums, strict=True)),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, layout: Layout) -> Self:
        """Read what `to_json` wrote.

        Raises:
            RequestError: The document is no pane, or was counted by another layout.
        """
        try:
            document = json.loads(data)
            if document["layout"] != layout.id:
                raise RequestError(
                    f"the pane was counted by layout {document['layout']}, not by {layout.id}",
                    remedy="read it with the profile of the version that it names",
                )
            pane = cls(layout, np.zeros(layout.width, np.int64), tuple(document["sums"][name] for name in layout.sums))
            for name in layout.shapes:
                pairs = np.array(document["counts"][name], np.int64).reshape(-1, 2)
                pane.section(name).reshape(-1)[pairs[:, 0]] = pairs[:, 1]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise RequestError(f"not a pane: {error!r}", remedy="read the evidence topic of a deployment") from None
        return pane

    def _must_match(self, other: "Pane") -> None:
        if self.layout.id != other.layout.id:
            raise RequestError(
                f"panes of layouts {self.layout.id} and {other.layout.id} cannot be added",
                remedy="add panes of one model version only",
            )


def read_digits(bins: Sequence[bytes], features: int) -> NDArray[np.uint8]:
    """The cells of predictions from their `bins`, shape (n, features); `UNREADABLE` where a character is no digit.

    A text of another length makes its whole row unreadable.
    """
    lengths = np.fromiter(map(len, bins), np.int64, len(bins))
    fitting = lengths == features
    if fitting.all():
        characters = np.frombuffer(b"".join(bins), np.uint8).reshape(len(bins), features)
        return _VALUE_OF_CHARACTER[characters]
    digits = np.full((len(bins), features), UNREADABLE, np.uint8)
    joined = np.frombuffer(b"".join(bins), np.uint8)[np.repeat(fitting, lengths)]
    digits[fitting] = _VALUE_OF_CHARACTER[joined.reshape(-1, features)]
    return digits


def count_predictions(
    layout: Layout,
    scores: NDArray[np.float64],
    digits: NDArray[np.uint8],
    groups: NDArray[np.intp],
    group_count: int,
) -> list[Pane]:
    """Count new predictions into one pane per group.

    Args:
        layout: What to count.
        scores: Shape (n, layout.score_columns).
        digits: Shape (n, features), as `read_digits` gives them.
        groups: The group of each row, below `group_count`.
        group_count: How many panes to make.
    """
    tally = _Tally(layout, groups, group_count, signs=None)
    tally.count("predictions")
    tally.add("scores", *layout.score_bins(scores).T)
    unreadable: NDArray[np.bool_] = np.asarray((digits >= layout.cell_counts).any(axis=1))
    cells = layout.cell_starts + digits
    if unreadable.any():
        tally.rows(unreadable).count("unreadable_bins")
        tally.cells_of_rows(cells, ~unreadable)
    else:
        tally.cells_of_rows(cells, None)
    return [Pane(layout, counts, (0,) * len(layout.sums)) for counts in tally.counts]


def count_labels(layout: Layout, columns: LabelledColumns, groups: NDArray[np.intp], group_count: int) -> list[Pane]:
    """Count labelled predictions into one pane per group; rows with sign -1 are taken back to the bit."""
    known = _is_known(layout, columns.labels)
    tally = _Tally(layout, groups, group_count, columns.signs)
    if not known.all():
        tally.rows(~known).count("unknown_labels")
        columns, groups = columns.take(known), groups[known]
        tally = tally.rows(known)
    tally.count("labelled")
    bins = layout.score_bins(columns.scores)
    tally.add("labelled_scores", *bins.T)
    tally.add("delays", DELAYS.cell(np.maximum(columns.delays_ms, 0).astype(np.float64)))
    if layout.task is Task.REGRESSION:
        terms = _regression_terms(layout, columns)
        tally.add("errors", ERRORS.cell(np.minimum(terms[1], LARGEST)))
    else:
        truth = columns.labels.astype(np.int64)
        tally.add("confusion", truth * len(layout.classes) + columns.predicted)
        _count_positives(layout, tally, bins, truth)
        terms = _classification_terms(layout, columns, truth)
    saturated: NDArray[np.bool_] = np.asarray((np.abs(terms) > LARGEST).any(axis=0))
    if saturated.any():
        tally.rows(saturated).count("saturated")
        terms = np.clip(terms, -LARGEST, LARGEST)
    sums = [sum_by_group(term, columns.signs, groups, group_count) for term in terms]
    return [Pane(layout, counts, tuple(s)) for counts, s in zip(tally.counts, zip(*sums, strict=True), strict=True)]


def _is_known(layout: Layout, labels: NDArray[np.float64]) -> NDArray[np.bool_]:
    if layout.task is Task.REGRESSION:
        return np.isfinite(labels)
    return np.asarray((labels >= 0) & (labels < len(layout.classes)) & (labels == np.floor(labels)))


def _count_positives(layout: Layout, tally: "_Tally", bins: NDArray[np.int64], truth: NDArray[np.int64]) -> None:
    if layout.task is Task.BINARY:
        tally.rows(truth == 1).add("positives", bins[truth == 1, 0])
    else:
        own = np.take_along_axis(bins, truth[:, None], axis=1)[:, 0]
        tally.add("positives", own + truth * layout.shapes["positives"][1])


def _classification_terms(layout: Layout, columns: LabelledColumns, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log loss and Brier score per row, their squares, and weights; Brier is scikit-learn's: halved for two classes."""
    scores, weights = columns.scores, columns.weights
    if layout.task is Task.BINARY:
        own = np.where(truth == 1, scores[:, 0], 1.0 - scores[:, 0])
        brier = (1.0 - own) * (1.0 - own)
    else:
        own = np.take_along_axis(scores, truth[:, None], axis=1)[:, 0]
        miss = scores.copy()
        np.put_along_axis(miss, truth[:, None], 1.0 - own[:, None], axis=1)
        brier = np.zeros(len(truth))
        for column in miss.T:  # in the order of the classes, so that rounding does not depend on how a sum is split
            brier = brier + column * column
    log_loss = -natural_log(np.clip(own, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY))
    right = weights * (columns.predicted == truth)
    return np.stack((log_loss, log_loss * log_loss, brier, brier * brier, weights, right))


def _regression_terms(layout: Layout, columns: LabelledColumns) -> NDArray[np.float64]:
    # Clipped before squaring, so that nothing becomes infinite; the larger powers then say that it was clipped.
    error = np.clip((columns.scores[:, 0] - columns.labels) / layout.scale, -2 * LARGEST, 2 * LARGEST)
    truth = np.clip((columns.labels - layout.centre) / layout.scale, -2 * LARGEST, 2 * LARGEST)
    squared, weights = error * error, columns.weights
    return np.stack(
        (error, np.abs(error), squared, squared * squared, truth, truth * truth, weights, weights * np.abs(error))
    )


class _Tally:
    """Counts of several groups at once: one bincount per section, over group and cell together."""

    def __init__(
        self,
        layout: Layout,
        groups: NDArray[np.intp],
        group_count: int,
        signs: NDArray[np.int64] | None,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        self._layout = layout
        self._groups = groups
        self._signs = signs
        self.counts = np.zeros((group_count, layout.width), np.int64) if counts is None else counts

    def rows(self, mask: NDArray[np.bool_]) -> "_Tally":
        """Count into the same panes, for these rows only."""
        signs = None if self._signs is None else self._signs[mask]
        return _Tally(self._layout, self._groups[mask], len(self.counts), signs, self.counts)

    def count(self, name: str) -> None:
        """Count every row once."""
        self.counts[:, COUNTERS.index(name)] += self._bincount(self._groups, self._signs, len(self.counts))

    def add(self, section: str, *columns: NDArray[np.int64]) -> None:
        """Count every row in one cell of each column; the columns are the rows of the section's shape."""
        start, shape = self._layout.starts[section], self._layout.shapes[section]
        width = int(np.prod(shape))
        per_column = width // len(columns)
        block = self.counts[:, start : start + width]
        for i, cells in enumerate(columns):
            flat = self._bincount(self._groups * per_column + cells, self._signs, len(self.counts) * per_column)
            block[:, i * per_column : (i + 1) * per_column] += flat.reshape(-1, per_column)

    def cells_of_rows(self, cells: NDArray[np.int64], mask: NDArray[np.bool_] | None) -> None:
        """Count every row in all of its feature cells."""
        start, (width,) = self._layout.starts["features"], self._layout.shapes["features"]
        if not width:
            return
        groups = self._groups
        if mask is not None:
            cells, groups = cells[mask], groups[mask]
        flat = self._bincount((cells + (groups * width)[:, None]).ravel(), None, len(self.counts) * width)
        self.counts[:, start : start + width] += flat.reshape(-1, width)

    @staticmethod
    def _bincount(cells: NDArray[np.intp], signs: NDArray[np.int64] | None, length: int) -> NDArray[np.int64]:
        return np.bincount(cells, weights=signs, minlength=length).astype(np.int64)
