"""From which offset on who answers: one record a partition and change, in the transaction of its first batch.

What was written down last is read once when a partition comes to this worker, so that nothing is written twice. A
worker that a launcher started is part of who answers: a partition that moves is a change, and a prediction can be
traced to the process that made it.
"""

from dataclasses import replace

import numpy as np

from millrace.core.lane import Discard
from millrace.core.records import OutputBatch, RecordBatch
from millrace_scorer.logic.lineup import Lineup, Worker
from millrace_scorer.logic.ports import HandoverLog


class Handovers:
    """Notices changes of the lineup, partition by partition.

    Args:
        log: What earlier workers wrote down.
        topic: Where to write.
        deployment: For which deployment.
        by: Who this worker is; None where no launcher started it.
    """

    def __init__(self, log: HandoverLog, *, topic: str, deployment: str, by: Worker | None = None) -> None:
        self._log = log
        self._topic = topic
        self._deployment = deployment
        self._by = by
        self._known: dict[int, Lineup | None] = {}

    def note(self, records: RecordBatch, lineup: Lineup | None, *, wall_ms: int) -> tuple[OutputBatch, ...]:
        """What to write with the predictions of a batch that this lineup scores; mostly nothing.

        Raises:
            TransientError: It is not known yet who answered before; nothing was noted.
        """
        if lineup is None:
            return ()
        answering = replace(lineup, by=self._by)
        numbers = np.unique(records.partitions).tolist()
        unknown = [number for number in numbers if number not in self._known]
        if unknown:
            latest = self._log.latest(unknown)
            self._known |= {number: latest.get(number) for number in unknown}
        changed = [number for number in numbers if self._known[number] != answering]
        if not changed:
            return ()
        self._known |= dict.fromkeys(changed, answering)
        firsts = [records.coordinates(int(np.argmax(records.partitions == number))) for number in changed]
        values = [answering.to_json(deployment=self._deployment, first=first, at_ms=wall_ms) for first in firsts]
        keys = [b"%d" % number for number in changed]
        stamps = np.full(len(changed), wall_ms, np.int64)
        return (OutputBatch(self._topic, np.array(changed, np.int32), stamps, keys, values),)

    def forget(self, discard: Discard) -> None:
        """What was noted may have been undone, or partitions are another worker's now: ask the log again."""
        if discard.everything:
            self._known.clear()
        for partition in discard.partitions:
            self._known.pop(partition.partition, None)
