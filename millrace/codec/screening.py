"""What can be said of a record's value before anybody parses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import not_
from typing import cast

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import Rejection
from millrace.core.errors import InvalidRecordError, Reason


@dataclass(frozen=True, slots=True)
class Screened:
    """Values worth parsing.

    Attributes:
        rows: intp, the record of each value, ascending.
        values: Neither None, nor empty, nor too long.
        rejections: The other records.
    """

    rows: NDArray[np.intp]
    values: Sequence[bytes]
    rejections: tuple[Rejection, ...] = ()


def screen(values: Sequence[bytes | None], *, record_bytes: int) -> Screened:
    """Reject tombstones, empty values and values of more than `record_bytes`."""
    everything = np.arange(len(values), dtype=np.intp)
    # `None in values` compares identities first and costs nothing beside parsing; so does a length.
    if None not in values:
        present = cast("Sequence[bytes]", values)
        if not any(map(not_, present)) and max(map(len, present), default=0) <= record_bytes:
            return Screened(everything, present)
    reasons = [_reason(value, record_bytes) for value in values]
    rejections = tuple(Rejection(row, error) for row, error in enumerate(reasons) if error is not None)
    kept = [row for row, error in enumerate(reasons) if error is None]
    return Screened(everything[kept], [cast("bytes", values[row]) for row in kept], rejections)


def _reason(value: bytes | None, record_bytes: int) -> InvalidRecordError | None:
    if value is None:
        return InvalidRecordError(Reason.TOMBSTONE, "the record has no value")
    if not value:
        return InvalidRecordError(Reason.EMPTY, "the value has no bytes")
    if len(value) > record_bytes:
        return InvalidRecordError(
            Reason.OVERSIZED, f"the value has {len(value)} bytes and the stream allows {record_bytes}"
        )
    return None
