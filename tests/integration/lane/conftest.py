from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from millrace.kafka.lane import LaneSpec
from millrace.kafka.lane.native import native_library
from millrace.process.settings import LaneBody
from millrace.testing.broker import Broker
from millrace.testing.contracts.kafka_world import KafkaWorld, MakeWorld
from millrace.testing.contracts.lane import PARTITIONS
from millrace.testing.plugin import TopicFactory

SESSION = timedelta(seconds=4)
"""Short, and with it the heartbeats that bring the news of an assignment."""


collect_ignore = [] if native_library() else ["test_native.py"]

BODIES = [LaneBody.PYTHON, *([LaneBody.NATIVE] if native_library() else [])]
"""Every test of the lanes runs over each body that is built here."""


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest) -> LaneBody:
    chosen: LaneBody = request.param
    return chosen


@pytest.fixture
def make_world(broker: Broker, topic: TopicFactory, body: LaneBody) -> Iterator[MakeWorld]:
    with ExitStack() as cleanup:

        def make(**spec: Any) -> KafkaWorld:  # noqa: ANN401
            source = topic("features", PARTITIONS, retention_ms="-1")  # the contract's records are old
            lane = LaneSpec(
                source.removesuffix(".features"), 0, source, **{"session_timeout": SESSION, "body": body, **spec}
            )
            return KafkaWorld(broker.kafka, lane, topic("predictions", PARTITIONS, retention_ms="-1"), cleanup)

        yield make
