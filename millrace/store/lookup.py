"""What is asked of the online store, and what it answers. Needs no client of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch


class Fullness(StrEnum):
    """What an absent key says."""

    ABSENT = "absent"
    """Nothing: there is no such table."""
    FILLING = "filling"
    """Nothing: the topic has not yet been read to where it ended when the table was begun."""
    FILLED = "filled"
    """That the topic has no value for it."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What to look up: keys of one topic's records, each as often as wanted."""

    topic: str
    keys: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup found.

    Attributes:
        records: The newest record of each key that has one, each key once.
        rows: intp, one for each key asked: its record's row in `records`, or -1.
        fullness: What -1 means.
    """

    records: RecordBatch
    rows: NDArray[np.intp]
    fullness: Fullness

    def require_filled(self) -> Self:
        """This, where an absent key means that there is no value.

        Raises:
            TransientError: It does not mean that yet, or no longer: the store lost its data and is being filled again.
        """
        topic = self.records.topic
        if self.fullness is Fullness.ABSENT:
            raise TransientError(
                f"the online store has no table {topic}", remedy=f"run millrace-materializer --topic {topic}"
            )
        if self.fullness is Fullness.FILLING:
            raise TransientError(
                f"the table {topic} of the online store is still being filled",
                remedy=f"wait for its materializer, or start it: millrace-materializer --topic {topic}",
            )
        return self
