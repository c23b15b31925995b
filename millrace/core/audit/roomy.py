"""A dictionary that keeps its size although keys come and go.

A deleted key leaves a hole in CPython's table, and holes are only cleared when the table is full; the next table then
has three slots for every key that is left. A dictionary of one steady number of keys therefore doubles once, long after
it was filled. Here it has its three slots a key from the beginning, so that memory is flat as soon as the keys are.
"""

import sys
from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import Final, cast

_SLOTS_PER_KEY: Final = 3
_BYTES_PER_SLOT: Final = 20
"""An index of 4 bytes, and an entry of 24 for two slots of three."""
_FEWEST_KEYS: Final = 1 << 16
"""Below so many it is not worth it."""
_AT_ONCE: Final = 4096


def make_room(index: dict[bytes, int]) -> None:
    """Let the table have the size that it will have in the long run for its present number of keys."""
    wanted = _BYTES_PER_SLOT * _SLOTS_PER_KEY * len(index)
    if len(index) < _FEWEST_KEYS or sys.getsizeof(index) >= wanted:
        return
    roomy = cast("dict[object, int]", index)
    fillers = 0
    while sys.getsizeof(index) < wanted:  # nothing but further keys makes a table grow
        _drain(map(roomy.__setitem__, range(fillers, fillers + _AT_ONCE), repeat(0)))
        fillers += _AT_ONCE
    _drain(map(roomy.__delitem__, range(fillers)))


def _drain(steps: Iterable[object]) -> None:
    deque(steps, maxlen=0)
