"""What is counted for one model version, and where each count lies in the vector that holds all of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.profile import SCORE_BINS, Cells, ReferenceProfile
from millrace.core.signature import Task

COUNTERS: Final = (
    "predictions",
    "labelled",
    "duplicates",
    "corrections",
    "conflicts",
    "late",
    "unknown_labels",
    "unreadable_bins",
    "saturated",
)
"""Single counts of a pane.

`duplicates`: records that repeat what is known. `corrections`: further revisions of a label. `conflicts`: records that
contradict a record of equal standing. `late`: labels past their horizon. `unknown_labels`: labels that are no class of
the model. `unreadable_bins`: predictions whose bins do not fit the profile. `saturated`: clipped terms of a sum.
"""

CLASSIFICATION_SUMS: Final = ("log_loss", "log_loss_squared", "brier", "brier_squared", "weight", "weight_right")
REGRESSION_SUMS: Final = (
    "error",
    "error_absolute",
    "error_squared",
    "error_fourth",
    "truth",
    "truth_squared",
    "weight",
    "weight_error",
)

CELLS_PER_OCTAVE: Final = 4


@dataclass(frozen=True, slots=True)
class Octaves:
    """Cells on a logarithmic scale, four to an octave: below `2**lowest`, then up to `2**highest`, then above.

    Made of exponents and leading mantissa bits, so that no processor's logarithm decides on a cell.
    """

    lowest: int
    highest: int

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return (self.highest - self.lowest) * CELLS_PER_OCTAVE + 2

    def cell(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The cell of each non-negative value."""
        mantissa, exponent = np.frexp(values)
        quarter = ((mantissa - 0.5) * (2 * CELLS_PER_OCTAVE)).astype(np.int64)
        cell = (exponent.astype(np.int64) - 1 - self.lowest) * CELLS_PER_OCTAVE + quarter + 1
        return np.clip(np.where(values > 0, cell, 0), 0, self.cells - 1)

    def lower_edges(self) -> NDArray[np.float64]:
        """The least value of each cell; 0 for the first."""
        steps = np.arange(self.cells - 1)
        edges = np.ldexp(1.0 + (steps % CELLS_PER_OCTAVE) / CELLS_PER_OCTAVE, self.lowest + steps // CELLS_PER_OCTAVE)
        return np.concatenate(([0.0], edges))


DELAYS: Final = Octaves(0, 41)
"""Label delays in milliseconds: 1 ms to about 70 years."""
ERRORS: Final = Octaves(-20, 21)
"""Absolute errors of a regression, in units of its scale."""


@dataclass(frozen=True)
class Layout:
    """Sections of a count vector. Two panes can be added when their layouts have one id.

    Attributes:
        task: What the scores mean.
        classes: Names of the classes; empty for regression.
        cells: The profiled features; empty where the version has no reference profile.
        score_lower: Left edge of the score histogram; 0 for classes.
        score_upper: Right edge of the score histogram; 1 for classes.
        centre: Subtracted from the truth of a regression before it is summed.
        scale: Unit of errors and truths of a regression: choose it near the truth's standard deviation, so that no sum
            is clipped. A power of two divides without rounding.
    """

    task: Task
    classes: tuple[str, ...] = ()
    cells: tuple[Cells, ...] = field(default=(), repr=False)
    score_lower: float = 0.0
    score_upper: float = 1.0
    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(
        cls,
        task: Task,
        classes: Sequence[str],
        profile: ReferenceProfile | None,
        *,
        centre: float = 0.0,
        scale: float = 1.0,
    ) -> "Layout":
        """The layout of a version with this reference profile, or with none."""
        scores = None if profile is None else profile.scores
        return cls(
            task,
            tuple(classes),
            () if profile is None else profile.cells,
            0.0 if scores is None else scores.lower,
            1.0 if scores is None else scores.upper,
            centre,
            scale,
        )

    @property
    def score_columns(self) -> int:
        """Scores kept per prediction: the second class's for binary, one per class, or the predicted value."""
        return len(self.classes) if self.task is Task.MULTICLASS else 1

    @cached_property
    def cell_counts(self) -> NDArray[np.int64]:
        """Cells per feature."""
        return np.array([len(entry.counts) for entry in self.cells], np.int64)

    @cached_property
    def cell_starts(self) -> NDArray[np.int64]:
        """Where each feature's cells begin inside the section `features`."""
        return np.cumsum(self.cell_counts) - self.cell_counts

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every section, in the order of the vector."""
        scores = (self.score_columns, SCORE_BINS)
        shapes: dict[str, tuple[int, ...]] = {
            "counters": (len(COUNTERS),),
            "features": (int(self.cell_counts.sum()),),
            "scores": scores,
            "labelled_scores": scores,
            "delays": (DELAYS.cells,),
        }
        if self.task is Task.REGRESSION:
            return {**shapes, "errors": (ERRORS.cells,)}
        return {**shapes, "positives": scores, "confusion": (len(self.classes), len(self.classes))}

    @cached_property
    def starts(self) -> dict[str, int]:
        """Where each section begins."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        return dict(zip(self.shapes, accumulate([0, *sizes[:-1]]), strict=True))

    @cached_property
    def width(self) -> int:
        """Counts in all."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    @property
    def sums(self) -> tuple[str, ...]:
        """Names of the fixed-point sums."""
        return REGRESSION_SUMS if self.task is Task.REGRESSION else CLASSIFICATION_SUMS

    @cached_property
    def id(self) -> str:
        """A digest of everything that decides where an event is counted."""
        features = [[entry.feature, len(entry.counts)] for entry in self.cells]
        edges = [self.score_lower, self.score_upper, self.centre, self.scale]
        document = json.dumps([self.task.value, self.classes, features, edges], separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()[:16]

    def score_bins(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """The histogram bin of each score, same shape; scores beyond the edges are in the outermost bins."""
        scaled = (scores - self.score_lower) * (SCORE_BINS / max(self.score_upper - self.score_lower, 1e-300))
        return np.clip(scaled, 0, SCORE_BINS - 1).astype(np.int64)
