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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.isotonic import fit_isotonic
from millrace.core.outputs import Outputs
from millrace.core.signature import DType, Feature, Signature

DIGITS: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"
"""The characters of cells 0 to 35."""
BINS: Final = 10
"""Reference-quantile bins of a numeric feature; more of them cost statistical power."""
TOP_VALUES: Final = 20
"""Values of a text feature with a cell of their own."""
OTHER_VALUES: Final = 10_000
"""Further values of a text feature that are remembered as `other`; rarer ones count as unseen, in the reference too."""
SCORE_BINS: Final = 1000
"""Bins of the score histogram: the error of an AUC computed on them is below 1e-3."""

_TO_CHARACTERS: Final = DIGITS + bytes(256 - len(DIGITS))
_BOOLEANS: Final = ("false", "true")
_ROWS_AT_ONCE: Final = 4096  # keeps a block of columns in the processor's cache


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
            raise _broken(self.feature, "its edges do not ascend")


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
            raise _broken(self.feature, "one value has two cells")


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
    uncounted = tuple(_edges(feature, columns.column(feature.name)) for feature in _profiled(columns.signature))
    digits = Binner(ReferenceProfile(len(columns), uncounted), columns.signature).digits(columns)
    cells = tuple(_counted(entry, column) for entry, column in zip(uncounted, digits.T, strict=True))
    scores = None if outputs is None else _histogram(outputs)
    return ReferenceProfile(len(columns), cells, scores, _isotonic(scores, outputs, truth))


class Binner:
    """Puts feature columns into the cells of a profile. Compiled once per model; safe to call from any thread.

    Raises:
        RequestError: The profile and the signature name different features.
    """

    def __init__(self, profile: ReferenceProfile, signature: Signature) -> None:
        expected = [feature.name for feature in _profiled(signature)]
        if [entry.feature for entry in profile.cells] != expected:
            raise RequestError(
                "the reference profile and the signature name different features", remedy="export the model again"
            )
        self.features: Final = len(expected)
        rows = {name: row for row, name in enumerate(expected)}
        cells = {entry.feature: entry for entry in profile.cells}
        self._parts: Final = tuple(
            _compile(
                position, [cells[name] for name in tensor.features], [rows[name] for name in tensor.features], dtype
            )
            for position, tensor in enumerate(signature.inputs)
            if tensor.features[0] in rows
            for dtype in [signature.feature(tensor.features[0]).dtype]
        )

    def digits(self, columns: FeatureColumns) -> NDArray[np.uint8]:
        """The cell of every value: shape (n, profiled features), C-contiguous."""
        by_feature = np.empty((self.features, len(columns)), np.uint8)
        for part in self._parts:
            tensor = columns.tensors[part.position]
            for start in range(0, len(columns), _ROWS_AT_ONCE):
                block = slice(start, start + _ROWS_AT_ONCE)
                by_feature[part.rows, block] = part.digits(tensor[block])
        return np.ascontiguousarray(by_feature.T)

    def strings(self, columns: FeatureColumns) -> list[bytes]:
        """The cells of every row as its base-36 characters, one per profiled feature."""
        if not self.features or not len(columns):
            return [b""] * len(columns)
        characters = self.digits(columns).tobytes().translate(_TO_CHARACTERS)
        # No digit is a NUL byte, which NumPy would strip from the end of a fixed-width string.
        return np.frombuffer(characters, dtype=f"S{self.features}").tolist()  # type: ignore[no-any-return]


def bin_digits(profile: ReferenceProfile, columns: FeatureColumns) -> NDArray[np.uint8]:
    """The cell of every value, shape (n, profiled features). For repeated use compile a `Binner` once."""
    return Binner(profile, columns.signature).digits(columns)


def bin_strings(profile: ReferenceProfile, columns: FeatureColumns) -> list[bytes]:
    """The base-36 characters of every row. For repeated use compile a `Binner` once."""
    return Binner(profile, columns.signature).strings(columns)


@dataclass(frozen=True, slots=True)
class _NumericPart:
    """The numeric features of one input tensor: a cell is one plus the number of edges that a value has reached."""

    position: int
    rows: list[int]
    edges: tuple[tuple[np.ufunc, NDArray[np.generic], NDArray[np.bool_] | None], ...]

    def digits(self, tensor: NDArray[np.generic]) -> NDArray[np.uint8]:
        values = np.ascontiguousarray(tensor.T)  # one feature after the other: whole vectors against one edge each
        digits: NDArray[np.uint8] = np.equal(values, values).view(np.uint8)  # 0 for NaN, which reaches no edge either
        reached = np.empty(values.shape, np.bool_)
        for compare, edge, exists in self.edges:
            compare(values, edge, out=reached)
            if exists is not None:
                np.logical_and(reached, exists, out=reached)
            np.add(digits, reached.view(np.uint8), out=digits)
        return digits


@dataclass(frozen=True, slots=True)
class _BooleanPart:
    position: int
    rows: list[int]

    def digits(self, tensor: NDArray[np.generic]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(tensor.T).view(np.uint8) + np.uint8(1)


@dataclass(frozen=True, slots=True)
class _TextPart:
    position: int
    rows: list[int]
    codes: tuple[tuple[dict[str | None, int], int], ...]

    def digits(self, tensor: NDArray[np.generic]) -> NDArray[np.uint8]:
        return np.stack(
            [
                np.fromiter(map(codes.get, tensor[:, column].tolist(), repeat(unseen)), np.uint8, len(tensor))
                for column, (codes, unseen) in enumerate(self.codes)
            ]
        )


def _compile(
    position: int, cells: Sequence[Cells], rows: list[int], dtype: DType
) -> _NumericPart | _BooleanPart | _TextPart:
    if dtype is DType.BOOL:
        return _BooleanPart(position, rows)
    if dtype is DType.STRING:
        return _TextPart(position, rows, tuple(_codes(entry) for entry in cells if isinstance(entry, CategoryCells)))
    numeric = [entry for entry in cells if isinstance(entry, NumericCells)]
    if len(numeric) != len(cells):
        raise _broken(cells[0].feature, f"it has cells of values but the type {dtype}")
    lowers = max(len(entry.lowers) for entry in numeric)
    edges: list[tuple[np.ufunc, list[float | None]]] = [
        (np.greater_equal, [entry.lowers[i] if i < len(entry.lowers) else None for entry in numeric])
        for i in range(lowers)
    ]
    edges.append((np.greater, [entry.upper for entry in numeric]))
    return _NumericPart(position, rows, tuple((compare, *_edge_column(edge, dtype)) for compare, edge in edges))


def _edge_column(edge: list[float | None], dtype: DType) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """One edge of several features, shape (k, 1). A feature with fewer edges has NaN, which nothing reaches."""
    if dtype in {DType.FLOAT32, DType.FLOAT64}:
        return np.array([np.nan if e is None else e for e in edge], dtype.numpy)[:, None], None
    exists = np.array([e is not None for e in edge])[:, None]
    # No integer is beyond reach, so a mask stands for the missing edges.
    return np.array([0 if e is None else e for e in edge], dtype.numpy)[:, None], None if exists.all() else exists


def _codes(entry: CategoryCells) -> tuple[dict[str | None, int], int]:
    other = len(entry.top) + 1
    codes: dict[str | None, int] = dict.fromkeys(entry.others, other)
    codes.update({value: code for code, value in enumerate(entry.top, start=1)})
    return {**codes, None: 0}, other + 1


def _profiled(signature: Signature) -> Iterator[Feature]:
    return (feature for feature in signature.features if not feature.shape)


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
        raise _broken(feature, f"it has {len(counts)} counts for {cells} cells")


def _broken(feature: str, what: str) -> RequestError:
    return RequestError(
        f"the reference profile of feature {feature!r} is broken: {what}", remedy="export the model again"
    )
