"""The world of the lane contract on a real broker: two topics of its own, and lanes between them."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from millrace.core.lane import Delivery, Lane
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin
from millrace.kafka.lane import LaneSpec, open_lane
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings
from millrace.testing.contracts.lane import Written


@dataclass(frozen=True)
class KafkaWorld:
    """See `millrace.testing.contracts.lane.LaneWorld`.

    Attributes:
        kafka: The broker.
        spec: Of the lane in slot 0; the others differ in nothing but the slot.
        output_topic: Where lanes write.
        cleanup: Closes the lanes that were opened.
    """

    kafka: KafkaSettings
    spec: LaneSpec
    output_topic: str
    cleanup: ExitStack = field(default_factory=ExitStack)

    @property
    def delivery(self) -> Delivery:
        return self.spec.delivery

    def open(self, slot: int = 0) -> Lane:
        return self.cleanup.enter_context(closing(open_lane(self.kafka, replace(self.spec, slot=slot))))

    def produce(self, records: Sequence[Written]) -> None:
        columns = OutputBatch(
            self.spec.topic,
            np.array([record.partition for record in records], np.int32),
            np.array([record.timestamp_ms for record in records], np.int64),
            [record.key for record in records],
            [record.value for record in records],
            [record.headers for record in records],
        )
        with Writer(self.kafka) as writer:
            writer.write(columns)

    def outputs(self) -> Sequence[Written]:
        with Reader(self.kafka, self.output_topic) as reader:
            found = [
                Written(*columns)
                for batch in reader
                for columns in zip(
                    batch.partitions.tolist(),
                    batch.timestamps_ms.tolist(),
                    batch.keys,
                    batch.values,
                    batch.headers,
                    strict=True,
                )
            ]
        return sorted(found, key=lambda record: record.partition)  # stable: keeps the order of each partition

    def open_transactions(self) -> bool:
        """Whether readers of the output are held back."""
        return any(ends.has_open_transaction for ends in Admin(self.kafka).ends([self.output_topic]).values())


class MakeWorld(Protocol):
    """Makes a world; the arguments are those of `LaneSpec`."""

    def __call__(self, **spec: object) -> KafkaWorld:
        """Make topics and describe the lane between them."""
        ...
