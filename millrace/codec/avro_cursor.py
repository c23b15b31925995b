"""Many Avro records read side by side: one cursor per record, moved by NumPy."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.codec.avro_binary import LONGEST_VARINT

Where: TypeAlias = NDArray[np.intp] | slice
"""Some of the records, ascending, or all of them."""

EVERYWHERE: Final = slice(None)

_PAYLOAD: Final = np.uint8(0x7F)
_MORE: Final = np.uint8(0x80)


class Fault(IntEnum):
    """Why a record was given up."""

    NONE = 0
    TRUNCATED = 1
    MALFORMED = 2
    INVALID_UTF8 = 3
    MISSING = 4
    WRONG_TYPE = 5
    NOT_FINITE = 6
    UNEXPECTED = 7
    """It may be good but is written in a way that columns cannot follow."""


class Cursors:
    """A cursor in each of many records.

    A record that fails keeps its first fault and the field where it happened; its cursor moves to its end, and whatever
    is read for it afterwards is meaningless and harmless. No read for one record can fail another.

    Args:
        values: The records' bytes.
        skip: Bytes before each record's first field; every value has at least so many.
        widest: Most bytes that `fixed` is asked for.
    """

    def __init__(self, values: Sequence[bytes], *, skip: int, widest: int) -> None:
        # Reads may begin at the last record's end: the padding takes them.
        self._data: Final = np.frombuffer(b"".join((*values, bytes(max(widest, LONGEST_VARINT)))), np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        self._end: Final = np.cumsum(lengths)
        self._at: Final = self._end - lengths + skip
        self.faults: Final = np.zeros(len(values), np.int8)
        self.fields: Final = np.full(len(values), -1, np.int32)
        self.field = -1
        """The field that is being read; remembered with a fault."""

    def __len__(self) -> int:
        return len(self._end)

    def remaining(self) -> NDArray[np.int64]:
        """Bytes that are left of each record."""
        return self._end - self._at

    def fail(self, where: Where, failed: NDArray[np.bool_], fault: Fault) -> None:
        """Give up those of the records for which `failed` is true."""
        if not failed.any():
            return
        rows = among(where, failed)
        self._at[rows] = self._end[rows]
        fresh = among(rows, self.faults[rows] == Fault.NONE)
        self.faults[fresh] = fault
        self.fields[fresh] = self.field

    def advance(self, where: Where, sizes: NDArray[np.int64] | int) -> None:
        """Move past `sizes` bytes; a record that has fewer is truncated."""
        self.fail(where, sizes > self._end[where] - self._at[where], Fault.TRUNCATED)
        # Cursors that failed are at their end already and must stay there.
        self._at[where] = np.minimum(self._at[where] + np.where(self.faults[where], 0, sizes), self._end[where])

    def fixed(self, where: Where, size: int) -> NDArray[np.uint8]:
        """The next `size` bytes of each record, shape (rows, size)."""
        windows = np.ndarray((len(self._data) - size + 1, size), np.uint8, self._data, strides=(1, 1))
        found: NDArray[np.uint8] = windows[self._at[where]]
        self.advance(where, size)
        return found

    def longs(self, where: Where) -> NDArray[np.int64]:
        """The next integer of each record."""
        start = self._at[where]
        byte = self._data[start]
        bits = (byte & _PAYLOAD).astype(np.uint64)
        sizes = np.ones(len(bits), np.int64)
        endless = np.zeros(len(bits), np.bool_)
        more = np.flatnonzero(byte >= _MORE)
        for group in range(1, LONGEST_VARINT):
            if not len(more):
                break
            byte = self._data[start[more] + group]
            bits[more] |= (byte & _PAYLOAD).astype(np.uint64) << np.uint64(7 * group)
            sizes[more] += 1
            more = more[byte >= _MORE]
        endless[more] = True
        # First what lies in the record itself: whether it is cut must not depend on the bytes of its neighbour.
        self.advance(where, sizes)
        self.fail(where, endless, Fault.MALFORMED)
        magnitude: NDArray[np.int64] = (bits >> np.uint64(1)).astype(np.int64)
        sign: NDArray[np.int64] = -(bits & np.uint64(1)).astype(np.int64)
        return np.bitwise_xor(magnitude, sign)

    def spans(self, where: Where) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and length of the next text or bytes of each record, which the cursor passes."""
        sizes = self.longs(where)
        self.fail(where, sizes < 0, Fault.MALFORMED)
        starts = self._at[where].copy()
        self.advance(where, sizes)
        return starts, np.where(self.faults[where] == Fault.NONE, sizes, 0)

    def texts(self, where: Where) -> NDArray[np.object_]:
        """The next text of each record; None for one that fails."""
        starts, sizes = self.spans(where)
        ends = np.cumsum(sizes)
        index = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
        content = self._data[index]
        found = np.full(len(starts), None, np.object_)
        try:
            content.tobytes().decode()
        except UnicodeDecodeError:
            return self._texts_one_by_one(where, content, sizes)
        # Cut by Arrow in one go. A text may still begin inside a character of its neighbour: then neither is UTF-8.
        if np.any((content[(ends - sizes)[sizes > 0]] & 0xC0) == 0x80):
            return self._texts_one_by_one(where, content, sizes)
        offsets = np.concatenate(([0], ends)).astype(np.int64)
        texts = pa.LargeStringArray.from_buffers(len(sizes), pa.py_buffer(offsets), pa.py_buffer(content))
        found[:] = texts.to_pylist()
        return found

    def _texts_one_by_one(
        self, where: Where, content: NDArray[np.uint8], sizes: NDArray[np.int64]
    ) -> NDArray[np.object_]:
        found = np.full(len(sizes), None, np.object_)
        broken = np.zeros(len(sizes), np.bool_)
        pieces = np.split(content, np.cumsum(sizes)[:-1])
        for row, piece in enumerate(pieces):
            try:
                found[row] = piece.tobytes().decode()
            except UnicodeDecodeError:
                broken[row] = True
        self.fail(where, broken, Fault.INVALID_UTF8)
        return found


def among(where: Where, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Those of the records for which `chosen` is true."""
    rows = np.flatnonzero(chosen)
    return rows if isinstance(where, slice) else where[rows]
