"""Arrow IPC records, decoded by the native module where they are plainly good, and in Python where they are not.

Python decodes the first record of each writer and finds its layout (`arrow_layout`); the native module (`native/arrow`)
reads those that differ from it in nothing but the numbers that have to. All others stay Python's.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from millrace.codec.arrow import ArrowDecoder
from millrace.codec.arrow_layout import Column, Layout, list_levels, read_layout
from millrace.codec.limits import Limits
from millrace.codec.native import MODULE, input_sizes, is_read_natively, places
from millrace.codec.rows import Rows, assemble, input_shapes, merged, renumbered, row_numbers
from millrace.core.columns import Decoded, Decoder
from millrace.core.records import RecordBatch
from millrace.core.signature import Feature, NotFinite, Signature

_MOST_LAYOUTS: Final = 16
_LOOKED_AT: Final = 4
"""Records of a batch that are looked at for a new layout; looking at one costs a seventh of decoding it."""


class _Reader(Protocol):
    def read(
        self, values: Sequence[bytes | None], make: Callable[[int], list[NDArray[np.uint8]]]
    ) -> tuple[tuple[bytes, bytes, list[str | None] | None], bytes]:
        """Fill tensors that are made for at most so many rows; records taken and left, ids by row, rows by record."""
        ...


def native_arrow_decoder(signature: Signature, *, limits: Limits, id_field: str | None = None) -> Decoder:
    """A decoder over the native module, which must be built; texts as features are read in Python all the same."""
    careful = ArrowDecoder(signature, limits=limits, id_field=id_field)
    if not is_read_natively(signature):
        return careful
    return NativeArrowDecoder(signature, careful, limits=limits, id_field=id_field)


class NativeArrowDecoder:
    """Decodes Arrow IPC records, many rows each, without Python per record. See `millrace.core.columns.Decoder`.

    Args:
        signature: What to read; without texts.
        careful: Decodes the records that the native module leaves.
        limits: Bounds on one record.
        id_field: Name of a column with the rows' own ids; None for no such column.
    """

    def __init__(self, signature: Signature, careful: Decoder, *, limits: Limits, id_field: str | None) -> None:
        self._signature: Final = signature
        self._careful: Final = careful
        self._limits: Final = limits
        self._id_field: Final = id_field
        self._layouts: list[Layout] = []
        self._reader = self._compiled()

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to its rows, or reject it with its own reason."""
        tensors: list[NDArray[np.generic]] = []

        def make(rows: int) -> list[NDArray[np.uint8]]:
            tensors.extend(np.empty((rows, *shape), dtype.numpy) for shape, dtype in input_shapes(self._signature))
            return [tensor.reshape(-1).view(np.uint8) for tensor in tensors]

        (taken, left, ids), lengths = self._reader.read(records.values, make)
        rows = np.frombuffer(lengths, np.uint32).astype(np.intp)
        source, numbers = row_numbers(np.frombuffer(taken, np.uint32).astype(np.intp), rows)
        read = Rows(tuple(tensor[: len(source)] for tensor in tensors), ids)
        found = assemble(self._signature, [read], source, (), rows=numbers)
        if not left:
            return found
        others = np.frombuffer(left, np.uint32).astype(np.intp)
        rest = self._careful.decode(records.take(others))
        self._learn(records, others[np.unique(rest.source)])
        return merged(self._signature, [found, renumbered(rest, others)])

    def _learn(self, records: RecordBatch, good: NDArray[np.intp]) -> None:
        """Have the native module read the like of some records that were left although they are good."""
        found: list[Layout] = []
        for row in good[:_LOOKED_AT].tolist():
            layout = read_layout(records.values[row] or b"", self._signature, self._id_field)
            if layout is not None and layout not in (*self._layouts, *found):
                found.append(layout)
        if found:
            self._layouts = [*self._layouts, *found][-_MOST_LAYOUTS:]
            self._reader = self._compiled()

    def _compiled(self) -> _Reader:
        reader: _Reader = import_module(MODULE).ArrowReader(
            input_sizes(self._signature),
            [_given(layout, self._signature, self._id_field) for layout in self._layouts],
            record_bytes=self._limits.record_bytes,
            rows=self._limits.rows,
            expanded_bytes=self._limits.expanded_bytes,
            finite=self._signature.not_finite is NotFinite.REJECT,
        )
        return reader


def _given(layout: Layout, signature: Signature, id_field: str | None) -> tuple[object, ...]:
    """A layout as the native module takes it."""
    features, absent = [], []
    for feature, number, start in places(signature):
        place = (number, start, feature.elements)
        column = layout.columns.get(feature.name)
        if column is None:
            absent.append(place)
        else:
            features.append(_feature(column, feature, place))
    named = layout.columns.get(id_field) if id_field is not None else None
    spots = layout.spots
    given_id = None if named is None else (str(named.kind), named.node, named.buffer)
    return layout.head, (spots.body, spots.rows, spots.nodes, spots.buffers), features, absent, given_id


def _feature(column: Column, feature: Feature, place: tuple[int, int, int]) -> tuple[object, ...]:
    levels, leaf = list_levels(column, feature)
    lists = [(_list(kind), size) for kind, size in levels]
    return column.node, column.buffer, lists, leaf, feature.nullable, place


def _list(kind: pa.DataType) -> str:
    if pt.is_fixed_size_list(kind):
        return "fixed"
    return "wide" if pt.is_large_list(kind) else "narrow"
