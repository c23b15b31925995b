"""Makes the reference profile of a model from the rows that it was judged on."""

from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.binning import Binner, profiled
from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.isotonic import fit_isotonic
from millrace.core.outputs import Outputs
from millrace.core.profile import SCORE_BINS, CategoryCells, Cells, NumericCells, ReferenceProfile, ScoreHistogram
from millrace.core.signature import DType, Feature

BINS: Final = 10
"""Reference-quantile bins of a numeric feature; more of them cost statistical power."""
TOP_VALUES: Final = 20
"""Values of a text feature with a cell of their own."""
OTHER_VALUES: Final = 10_000
"""Further values of a text feature that are remembered as `other`; rarer ones count as unseen, in the reference too."""
_BOOLEANS: Final = ("false", "true")


def build_profile(
    columns: FeatureColumns, outputs: Outputs | None = None, truth: NDArray[np.intp] | None = None
) -> ReferenceProfile:
    """Profile reference rows, best those the model was validated on.

    Args:
        columns: The reference rows; at least one.
        outputs: What the model answered for them.
        truth: The true classes of the rows, as indexes; used for a binary model only.

    Raises:
        RequestError: There are no rows.
    """
    if not len(columns):
        raise RequestError("a reference profile needs rows", remedy="give a sample, best the validation rows")
    uncounted = tuple(_edges(feature, columns.column(feature.name)) for feature in profiled(columns.signature))
    digits = Binner(ReferenceProfile(len(columns), uncounted), columns.signature).digits(columns)
    cells = tuple(_counted(entry, column) for entry, column in zip(uncounted, digits.T, strict=True))
    scores = None if outputs is None else _histogram(outputs)
    return ReferenceProfile(len(columns), cells, scores, _isotonic(scores, outputs, truth))


def _edges(feature: Feature, column: NDArray[np.generic]) -> Cells:
    """Cells of a feature, not yet counted."""
    if feature.dtype is DType.BOOL:
        return CategoryCells(feature.name, _BOOLEANS, (), (0,) * 5)
    if feature.dtype is DType.STRING:
        frequent = Counter(value for value in column.tolist() if value is not None)
        # Ties in alphabetical order, so that the same rows in another order give the same profile.
        ordered = sorted(frequent, key=lambda value: (-frequent[value], value))
        top, others = ordered[:TOP_VALUES], sorted(ordered[TOP_VALUES : TOP_VALUES + OTHER_VALUES])
        return CategoryCells(feature.name, tuple(top), tuple(others), (0,) * (len(top) + 3))
    values = np.sort(column[np.isfinite(column)])
    if not len(values):
        return NumericCells(feature.name, (), None, (0,) * 3)
    distinct = np.unique(values)
    if len(distinct) > BINS:  # a flag or a small count keeps a bin for each of its values
        distinct = np.unique(values[np.arange(BINS) * len(values) // BINS])
    return NumericCells(feature.name, tuple(distinct.tolist()), values[-1].item(), (0,) * (len(distinct) + 3))


def _counted(entry: Cells, digits: NDArray[np.uint8]) -> Cells:
    counts = tuple(np.bincount(digits, minlength=len(entry.counts)).tolist())
    if isinstance(entry, NumericCells):
        return NumericCells(entry.feature, entry.lowers, entry.upper, counts)
    return CategoryCells(entry.feature, entry.top, entry.others, counts)


def _histogram(outputs: Outputs) -> ScoreHistogram:
    scores = outputs.scores.reshape(len(outputs), -1)
    lower, upper = (float(scores.min()), float(scores.max())) if outputs.labels is None else (0.0, 1.0)
    empty = ScoreHistogram(lower, upper, ((0,) * SCORE_BINS,))
    bins = empty.bins(scores)
    return ScoreHistogram(
        lower, upper, tuple(tuple(np.bincount(column, minlength=SCORE_BINS).tolist()) for column in bins.T)
    )


def _isotonic(
    scores: ScoreHistogram | None, outputs: Outputs | None, truth: NDArray[np.intp] | None
) -> tuple[float, ...] | None:
    if scores is None or outputs is None or truth is None or len(scores.counts) != 2:
        return None
    bins = scores.bins(outputs.scores[:, 1])
    positives = np.bincount(bins, weights=truth == 1, minlength=SCORE_BINS)
    return tuple(fit_isotonic(positives, np.bincount(bins, minlength=SCORE_BINS)).tolist())
