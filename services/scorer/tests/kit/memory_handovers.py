"""Who answered, as an in-memory log has it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from millrace.core.errors import TransientError
from millrace.core.records import TopicPartition
from millrace.testing.memory import MemoryLog
from millrace_scorer.logic.lineup import Lineup


@dataclass(frozen=True, slots=True)
class MemoryHandovers:
    """See `millrace_scorer.logic.ports.HandoverLog`."""

    log: MemoryLog
    topic: str

    def latest(self, partitions: Iterable[int]) -> Mapping[int, Lineup]:
        """The newest committed lineup of each of these partitions."""
        found: dict[int, Lineup] = {}
        for number in partitions:
            partition = TopicPartition(self.topic, number)
            if self.log.stable_end(partition) < self.log.end(partition):
                raise TransientError("a transaction is still open on the handovers")
            for record in self.log.committed_records(partition):
                found[number] = Lineup.from_json(record.value)
        return found
