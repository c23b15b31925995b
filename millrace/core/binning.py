"""Puts the rows of a micro-batch into the cells of a reference profile; one character a feature, as `profile` says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.profile import DIGITS, CategoryCells, Cells, NumericCells, ReferenceProfile, broken
from millrace.core.signature import DType, Feature, Signature

_TO_CHARACTERS: Final = DIGITS + bytes(256 - len(DIGITS))
_ROWS_AT_ONCE: Final = 4096  # keeps a block of columns in the processor's cache


class Binner:
    """Puts feature columns into the cells of a profile. Compiled once per model; safe to call from any thread.

    Raises:
        RequestError: The profile and the signature name different features.
    """

    def __init__(self, profile: ReferenceProfile, signature: Signature) -> None:
        expected = [feature.name for feature in profiled(signature)]
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


def profiled(signature: Signature) -> Iterator[Feature]:
    """The features that have cells: scalar ones."""
    return (feature for feature in signature.features if not feature.shape)


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
        raise broken(cells[0].feature, f"it has cells of values but the type {dtype}")
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
