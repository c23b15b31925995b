"""The reference profile of a model version: what its features and scores looked like when it was judged good.

Every scalar feature has cells with fixed edges and the number of reference rows in each, so that drift is arithmetic on
integer counts. Tensor features are not profiled.

A row's cells are written as one base-36 character per profiled feature, in the order of the signature's features:

=========  ============================  =====================================
character  number                        text or boolean
=========  ============================  =====================================
``0``      NaN                           null
``1``      below the reference minimum   most frequent value (``false``)
...        one per reference bin         ... next frequent value (``true``)
last - 1   last reference bin            other value that the reference has
last       above the reference maximum   value that the reference does not have
=========  ============================  =====================================
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError

DIGITS: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"
"""The characters of cells 0 to 35."""
SCORE_BINS: Final = 1000
"""Bins of the score histogram: the error of an AUC computed on them is below 1e-3."""


@dataclass(frozen=True, slots=True)
class NumericCells:
    """Cells of a number: NaN, below, bins, above.

    Bin i holds `lowers[i] <= value < lowers[i + 1]`; the last one ends at `upper`, which belongs to it. Edges are
    values of the reference and exact in the feature's type.

    Attributes:
        feature: Name of the feature.
        lowers: Strictly ascending; empty when the reference has no finite value, and then every number is "below".
        upper: The reference maximum; None when there is none.
        counts: Reference rows per cell.
    """

    feature: str
    lowers: tuple[float, ...]
    upper: float | None
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_counts(self.feature, self.counts, cells=len(self.lowers) + 3)
        ascending = all(low < high for low, high in zip(self.lowers, self.lowers[1:], strict=False))
        bounded = (
            (self.upper is None) if not self.lowers else (self.upper is not None and self.lowers[-1] <= self.upper)
        )
        if not (ascending and bounded):
            raise broken(self.feature, "its edges do not ascend")


@dataclass(frozen=True, slots=True)
class CategoryCells:
    """Cells of a text or boolean: null, the most frequent values, other values of the reference, unseen values.

    Attributes:
        feature: Name of the feature.
        top: Values with a cell of their own, most frequent first; `false` and `true` for a boolean.
        others: Further values of the reference, sorted.
        counts: Reference rows per cell.
    """

    feature: str
    top: tuple[str, ...]
    others: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_counts(self.feature, self.counts, cells=len(self.top) + 3)
        if len({*self.top, *self.others}) != len(self.top) + len(self.others):
            raise broken(self.feature, "one value has two cells")


Cells: TypeAlias = NumericCells | CategoryCells


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How the reference was scored: `SCORE_BINS` bins of equal width from `lower` to `upper`.

    Attributes:
        lower: 0 for classes; the smallest predicted value for regression.
        upper: 1 for classes; the largest predicted value for regression.
        counts: Reference rows per bin, one row of counts per class; a single row for regression.
    """

    lower: float
    upper: float
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.counts or any(len(row) != SCORE_BINS or min(row) < 0 for row in self.counts):
            raise RequestError(
                f"the score histogram has not {SCORE_BINS} counts a class", remedy="export the model again"
            )

    def bins(self, scores: NDArray[np.float32]) -> NDArray[np.intp]:
        """The bin of each score, same shape; scores beyond the edges are in the outermost bins."""
        width = max(self.upper - self.lower, np.finfo(np.float64).tiny)
        # Where all reference scores are equal, every other score is infinitely far from them.
        with np.errstate(over="ignore"):
            scaled = (scores.astype(np.float64) - self.lower) / width * SCORE_BINS
        return np.clip(scaled, 0, SCORE_BINS - 1).astype(np.intp)


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """What the reference rows of a model version looked like.

    Attributes:
        rows: How many reference rows there were.
        cells: One entry per scalar feature, in the order of the signature's features.
        scores: How the model scored them; None where it was not asked.
        isotonic: Share of the second class per score bin of a binary model, non-decreasing: turns counts of scores into
            an estimate of performance without labels. None where the reference had no labels.
    """

    rows: int
    cells: tuple[Cells, ...]
    scores: ScoreHistogram | None = None
    isotonic: tuple[float, ...] | None = None

    @property
    def id(self) -> str:
        """`sha256:` and the digest of the canonical JSON form."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"

    def to_json(self) -> bytes:
        """Canonical JSON: equal profiles give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            RequestError: The document is not a profile.
        """
        try:
            document = json.loads(data)
            scores = document["scores"]
            return cls(
                rows=int(document["rows"]),
                cells=tuple(map(_read_cells, document["cells"])),
                scores=None if scores is None else _read_histogram(scores),
                isotonic=None if document["isotonic"] is None else tuple(map(float, document["isotonic"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"not a reference profile: {error!r}", remedy="export the model again") from None


def _read_cells(document: Mapping[str, Any]) -> Cells:
    counts = tuple(map(int, document["counts"]))
    if "top" in document:
        return CategoryCells(document["feature"], tuple(document["top"]), tuple(document["others"]), counts)
    return NumericCells(document["feature"], tuple(document["lowers"]), document["upper"], counts)


def _read_histogram(document: Mapping[str, Any]) -> ScoreHistogram:
    counts = tuple(tuple(map(int, row)) for row in document["counts"])
    return ScoreHistogram(float(document["lower"]), float(document["upper"]), counts)


def _check_counts(feature: str, counts: tuple[int, ...], *, cells: int) -> None:
    if len(counts) != cells or cells > len(DIGITS) or min(counts) < 0:
        raise broken(feature, f"it has {len(counts)} counts for {cells} cells")


def broken(feature: str, what: str) -> RequestError:
    """The refusal of a profile whose entry of this feature cannot be."""
    return RequestError(
        f"the reference profile of feature {feature!r} is broken: {what}", remedy="export the model again"
    )
