"""Pieces of a decoded batch, and how they become one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import Decoded, FeatureColumns, Rejection
from millrace.core.signature import DType, Signature

EventIds: TypeAlias = Sequence[str | None] | None
"""Ids of rows; None when no row has one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows: the model's input tensors, and the rows' own ids."""

    tensors: tuple[NDArray[np.generic], ...]
    event_ids: EventIds = None

    def __len__(self) -> int:
        return len(self.tensors[0])


def no_rows(signature: Signature) -> Rows:
    """Tensors of the signature's types and shapes without a row."""
    return Rows(tuple(np.empty((0, *shape), dtype.numpy) for shape, dtype in input_shapes(signature)))


def input_shapes(signature: Signature) -> list[tuple[tuple[int, ...], DType]]:
    """Shape of one row, and type, of each input tensor of the signature."""
    members = [[signature.feature(name) for name in spec.features] for spec in signature.inputs]
    return [(features[0].shape or (len(features),), features[0].dtype) for features in members]


def one_row(signature: Signature, values: Mapping[str, Sequence[Any]], event_id: str | None) -> Rows:
    """A single row, from the elements of each feature by its name; they must fit."""
    tensors = []
    for spec in signature.inputs:
        first = signature.feature(spec.features[0])
        elements = list(chain.from_iterable(map(values.__getitem__, spec.features)))
        with np.errstate(over="ignore"):  # infinity, where it is allowed
            row = np.array(elements, first.dtype.numpy)
        tensors.append(row.reshape(1, *(first.shape or (len(elements),))))
    return Rows(tuple(tensors), None if event_id is None else [event_id])


def assemble(
    signature: Signature,
    pieces: Sequence[Rows],
    source: NDArray[np.intp],
    rejections: Sequence[Rejection],
    *,
    rows: NDArray[np.int32] | None = None,
) -> Decoded:
    """One `Decoded` of the pieces in order; `source` is the record of each of their rows.

    `rows` numbers the rows inside their records; without it every record is one row.
    """
    filled = pieces or [no_rows(signature)]
    tensors = (
        filled[0].tensors
        if len(filled) == 1
        else tuple(np.concatenate(parts) for parts in zip(*(piece.tensors for piece in filled), strict=True))
    )
    numbers = np.zeros(len(source), np.int32) if rows is None else rows
    ordered = tuple(sorted(rejections, key=_row))
    return Decoded(FeatureColumns(signature, tensors), source, numbers, _join_ids(filled), ordered)


def gather(
    signature: Signature, parts: Sequence[tuple[NDArray[np.intp], Rows]], rejections: Sequence[Rejection]
) -> Decoded:
    """One `Decoded` of parts that are one row per record, in any order; each comes with the records of its rows."""
    if len(parts) == 1:
        return assemble(signature, [parts[0][1]], parts[0][0], rejections)
    joined = assemble(
        signature,
        [rows for _, rows in parts],
        np.concatenate([np.empty(0, np.intp), *(source for source, _ in parts)]),
        rejections,
    )
    order = np.argsort(joined.source, kind="stable")
    ids = None if joined.event_ids is None else list(map(joined.event_ids.__getitem__, order.tolist()))
    return replace(joined, columns=joined.columns.take(order), source=joined.source[order], event_ids=ids)


def row_numbers(records: NDArray[np.intp], lengths: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The record of each row, and the row's number in it, where each of the records has so many rows."""
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(records, lengths), (np.arange(len(firsts)) - firsts).astype(np.int32)


def renumbered(decoded: Decoded, rows: NDArray[np.intp]) -> Decoded:
    """The same, with the records numbered as in the batch that `rows` were taken from."""
    rejections = tuple(Rejection(int(rows[rejection.row]), rejection.error) for rejection in decoded.rejections)
    return replace(decoded, source=rows[decoded.source], rejections=rejections)


def merged(signature: Signature, parts: Sequence[Decoded]) -> Decoded:
    """One `Decoded` of several, each of other records of one batch."""
    source = np.concatenate([part.source for part in parts])
    order = np.argsort(source, kind="stable")
    tensors = zip(*(part.columns.tensors for part in parts), strict=True)
    ids = None
    if any(part.event_ids is not None for part in parts):
        ids = np.concatenate([id_column(part) for part in parts])[order].tolist()
    return Decoded(
        FeatureColumns(signature, tuple(np.concatenate(tensor)[order] for tensor in tensors)),
        source[order],
        np.concatenate([part.rows for part in parts])[order],
        ids,
        tuple(sorted(chain.from_iterable(part.rejections for part in parts), key=_row)),
    )


def id_column(decoded: Decoded) -> NDArray[np.object_]:
    """The rows' own ids, None for none."""
    ids = repeat(None) if decoded.event_ids is None else iter(decoded.event_ids)
    return np.fromiter(ids, np.object_, len(decoded.source))


def _join_ids(pieces: Sequence[Rows]) -> EventIds:
    if all(piece.event_ids is None for piece in pieces):
        return None
    if len(pieces) == 1:
        return pieces[0].event_ids
    return list(chain.from_iterable(repeat(None, len(p)) if p.event_ids is None else p.event_ids for p in pieces))


def _row(rejection: Rejection) -> int:
    return rejection.row
