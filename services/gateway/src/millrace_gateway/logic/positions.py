"""How far a subscriber has read, as text: the id of every event that is sent, and a place to begin again.

An id names, for every partition of the topic, the offset of the next record: `0:1042,1:977`. Whoever begins there gets
exactly what would have come next.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from millrace.core.errors import RequestError

Positions: TypeAlias = Mapping[int, int]
"""By partition, the offset of the next record."""

MAX_ID_CHARACTERS: Final = 16_384
"""Longest id that is read: some hundred partitions, and within what servers take as a header."""

_ID: Final = re.compile(r"\d{1,6}:\d{1,19}(,\d{1,6}:\d{1,19})*")


def format_id(positions: Positions) -> str:
    """The id of these positions.

    >>> format_id({1: 977, 0: 1042})
    '0:1042,1:977'
    """
    return ",".join(f"{partition}:{positions[partition]}" for partition in sorted(positions))


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return len(text) <= MAX_ID_CHARACTERS and _ID.fullmatch(text) is not None


def parse_id(text: str) -> dict[int, int]:
    """The positions that an id names.

    >>> parse_id("0:1042,1:977")
    {0: 1042, 1: 977}

    Raises:
        RequestError: It is no id, or names a partition twice.
    """
    pairs = [pair.split(":") for pair in text.split(",")] if is_id(text) else []
    positions = {int(partition): int(offset) for partition, offset in pairs}
    if not positions or len(positions) < len(pairs):
        raise RequestError(
            f"{text[:80]!r} is no id of an event",
            remedy="give back an id as it came, or PARTITION:OFFSET,... such as 0:1042,1:977",
        )
    return positions
