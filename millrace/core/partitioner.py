"""Which partition a key belongs to: murmur2, as the Java clients have it, over many keys at once."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = np.uint32(0x9747B28C)
_FACTOR: Final = np.uint32(0x5BD1E995)
_SHIFT: Final = np.uint32(24)
_POSITIVE: Final = np.uint32(0x7FFFFFFF)


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """The hash of each key. Takes a few array operations for each four bytes of the longest key.

    >>> murmur2([b"21"]).view(np.int32).tolist()
    [-973932308]
    """
    lengths = np.fromiter(map(len, keys), np.uint32, len(keys))
    hashes = np.empty(len(keys), np.uint32)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        text = b"".join(keys[row] for row in rows.tolist())
        hashes[rows] = _equally_long(np.frombuffer(text, np.uint8).reshape(len(rows), length))
    return hashes


def partitions_of_keys(keys: Sequence[bytes], partitions: int) -> NDArray[np.int32]:
    """The partition of each key, in a topic of so many partitions.

    >>> partitions_of_keys([b"21", b"foobar", b"21"], 12).tolist()
    [0, 6, 0]
    """
    return ((murmur2(keys) & _POSITIVE) % np.uint32(partitions)).astype(np.int32)


def _equally_long(keys: NDArray[np.uint8]) -> NDArray[np.uint32]:
    count, length = keys.shape
    hashes = np.full(count, _SEED ^ np.uint32(length), np.uint32)
    whole = length - length % 4
    words = np.ascontiguousarray(keys[:, :whole]).view("<u4").reshape(count, whole // 4)
    with np.errstate(over="ignore"):
        for word in words.T.astype(np.uint32):
            mixed = word * _FACTOR
            mixed ^= mixed >> _SHIFT
            hashes = (hashes * _FACTOR) ^ (mixed * _FACTOR)
        for place in range(length - 1, whole - 1, -1):
            hashes ^= keys[:, place].astype(np.uint32) << np.uint32(8 * (place - whole))
        if whole < length:
            hashes *= _FACTOR
        hashes ^= hashes >> np.uint32(13)
        hashes *= _FACTOR
        hashes ^= hashes >> np.uint32(15)
    return hashes
