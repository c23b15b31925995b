"""Of the records of one partition, those that a table is to hold."""

from dataclasses import dataclass

import numpy as np

from millrace.core.records import RecordBatch
from millrace.store.online_table import Upsert


@dataclass(frozen=True, slots=True)
class Step:
    """One partition's next move.

    Attributes:
        upsert: What it makes of the table.
        consumed: Records that it moves past.
        unkeyed: Those of them that have no key.
    """

    upsert: Upsert
    consumed: int
    unkeyed: int

    @property
    def deleted(self) -> int:
        """Tombstones among what is written."""
        return list(self.upsert.records.values).count(None)


def next_step(records: RecordBatch, partition: int, *, expected: int, reached: int) -> Step:
    """The move of one partition from `expected` to `reached`, which must not lie before it.

    Records before `expected` are left out: the table holds them, or what came after them.
    """
    ours = records.take(np.flatnonzero((records.partitions == partition) & (records.offsets >= expected)))
    last = dict(zip(ours.keys, range(len(ours)), strict=True))
    last.pop(None, None)
    rows = np.sort(np.fromiter(last.values(), np.intp, len(last)))
    upsert = Upsert(partition, expected, reached, ours.take(rows))
    return Step(upsert, len(ours), list(ours.keys).count(None))
