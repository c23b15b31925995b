"""Reads what earlier workers wrote down about who answers."""

from collections.abc import Iterable, Mapping

from millrace.core.errors import TransientError
from millrace.core.records import TopicPartition
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings
from millrace_scorer.logic.lineup import Lineup


class HandoverTopic:
    """See `millrace_scorer.logic.ports.HandoverLog`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._admin = Admin(kafka)

    def latest(self, partitions: Iterable[int]) -> Mapping[int, Lineup]:
        """The newest lineup of each of these partitions.

        What a worker committed before it lost a partition becomes readable a moment after its offsets do: as long as a
        transaction is open here, something may still be hidden.
        """
        wanted = list(partitions)
        ends = self._admin.ends([self._topic])
        for number in wanted:
            if ends[TopicPartition(self._topic, number)].has_open_transaction:
                raise TransientError(
                    f"an earlier worker's transaction is still open on {self._topic}-{number}",
                    remedy="wait: the broker ends it by its timeout",
                )
        found: dict[int, Lineup] = {}
        with Reader(self._kafka, self._topic, partitions=wanted) as reader:
            for batch in reader:
                for number, value in zip(batch.partitions.tolist(), batch.values, strict=True):
                    found[number] = Lineup.from_json(value)
        return found
