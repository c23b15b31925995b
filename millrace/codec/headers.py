"""Headers of many records as columns, without touching a record that has none."""

from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from millrace.core.records import Headers

HeaderColumn: TypeAlias = NDArray[np.object_]
"""One value per record: bytes, or None where the record has no such header."""


def header_columns(headers: Sequence[Headers | None], names: Sequence[str]) -> tuple[HeaderColumn, ...] | None:
    """A column for each of the names; None when no record has any header.

    A header that a record has more than once counts with its last value, as in Kafka's own clients.
    """
    if not any(headers):
        return None
    present = np.fromiter(map(bool, headers), np.bool_, len(headers))
    filled = cast("Iterable[Headers]", compress(headers, present))
    by_name: list[dict[str, bytes | None]] = list(map(dict, filled))
    columns = []
    for name in names:
        column = np.full(len(headers), None, np.object_)
        column[present] = np.fromiter(map(dict.get, by_name, repeat(name)), np.object_, len(by_name))
        columns.append(column)
    return tuple(columns)


def header(headers: Headers | None, name: str) -> bytes | None:
    """The last value of one header of one record; None where it has none."""
    return next((value for key, value in reversed(headers or ()) if key == name), None)
