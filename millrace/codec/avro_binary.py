"""Avro's binary encoding of single values, a column at a time."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

LONGEST_VARINT: Final = 10
"""Most bytes of a long."""

_PAYLOAD_BITS: Final = np.uint64(7)
_PAYLOAD: Final = np.uint64(0x7F)
_MORE: Final = np.uint8(0x80)


def encode_longs(values: NDArray[np.signedinteger]) -> list[bytes]:
    """Each integer in zigzag form, seven bits a byte, the lowest first."""
    wide = values.astype(np.int64)
    zigzag = ((wide << 1) ^ (wide >> 63)).view(np.uint64)
    thresholds = np.uint64(1) << (_PAYLOAD_BITS * np.arange(1, LONGEST_VARINT, dtype=np.uint64))
    lengths = np.searchsorted(thresholds, zigzag, side="right") + 1
    encoded = np.empty(len(values), np.object_)
    for length in np.unique(lengths).tolist():  # as many turns as there are lengths: one or two in practice
        rows = np.flatnonzero(lengths == length)
        shifts = _PAYLOAD_BITS * np.arange(length, dtype=np.uint64)
        groups = ((zigzag[rows, None] >> shifts) & _PAYLOAD).astype(np.uint8)
        groups[:, :-1] |= _MORE
        encoded[rows] = _split(groups, length)
    return encoded.tolist()


def encode_doubles(values: NDArray[np.floating]) -> list[bytes]:
    """Each number in eight bytes."""
    return _split(values.astype("<f8"), 8)


def encode_text(text: str) -> bytes:
    """A text with its length before it."""
    encoded = text.encode()
    return encode_longs(np.array([len(encoded)]))[0] + encoded


def _split(values: NDArray[np.generic], size: int) -> list[bytes]:
    """The memory of the values in pieces of `size` bytes."""
    return np.ascontiguousarray(values).view(f"V{size}").ravel().tolist()
