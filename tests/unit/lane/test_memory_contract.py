from collections.abc import Sequence

import numpy as np
import pytest

from millrace.core.lane import Delivery, Lane
from millrace.core.records import OutputBatch
from millrace.kafka.lane import LaneSpec
from millrace.testing.clock import ManualClock
from millrace.testing.contracts.lane import PARTITIONS, GroupLaneContract, LaneWorld, TransactionalLaneContract, Written
from millrace.testing.memory import MemoryClient, MemoryLog, memory_lane


class MemoryWorld:
    output_topic = "test.predictions"

    def __init__(self, delivery: Delivery, *, alternate: bool = True, pace: int = 0) -> None:
        self.delivery = delivery
        self._alternate = alternate
        self._pace = pace
        self._clock = ManualClock()
        self._log = MemoryLog(self._clock)
        self._log.create_topic("test.features", PARTITIONS)
        self._log.create_topic(self.output_topic, PARTITIONS)

    def open(self, slot: int = 0) -> Lane:
        spec = LaneSpec("test", slot, "test.features", delivery=self.delivery, alternate=self._alternate)
        return memory_lane(MemoryClient(self._log, self._clock, pace=self._pace), spec)

    def produce(self, records: Sequence[Written]) -> None:
        self._log.append(
            OutputBatch(
                "test.features",
                np.array([record.partition for record in records], np.int32),
                np.array([record.timestamp_ms for record in records], np.int64),
                [record.key for record in records],
                [record.value for record in records],
                [record.headers for record in records],
            )
        )

    def outputs(self) -> Sequence[Written]:
        return [
            Written(record.partition.partition, record.timestamp_ms, record.key, record.value, record.headers)
            for record in self._log.topic_records(self.output_topic)
        ]


class TestExactlyOnce(TransactionalLaneContract):
    @pytest.fixture(params=[0, 1, 9], ids=["at once", "a step a point", "slowly"])
    def world(self, request: pytest.FixtureRequest) -> LaneWorld:
        return MemoryWorld(Delivery.EXACTLY_ONCE, pace=request.param)


class TestExactlyOnceWithOneWriter(TransactionalLaneContract):
    @pytest.fixture
    def world(self) -> LaneWorld:
        return MemoryWorld(Delivery.EXACTLY_ONCE, alternate=False)


class TestAtLeastOnce(GroupLaneContract):
    @pytest.fixture
    def world(self) -> LaneWorld:
        return MemoryWorld(Delivery.AT_LEAST_ONCE)
