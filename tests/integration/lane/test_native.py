"""What the native body does beyond the contract: its columns behave as lists do. Left out where it is not built."""

from datetime import timedelta

import numpy as np
import pytest

from millrace.core.lane import Delivery
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace.process.deployment import GroupProtocol
from millrace.process.settings import LaneBody
from millrace.testing.contracts.kafka_world import MakeWorld
from millrace.testing.contracts.lane import BASE_MS, LIMIT, Written

RECORDS = [
    Written(0, BASE_MS, b"a", b"first"),
    Written(0, BASE_MS + 1, None, b""),
    Written(0, BASE_MS + 2, b"", None, [("why", b"\x00"), ("none", None)]),
    Written(0, BASE_MS + 3, b"d", b"last"),
]


@pytest.fixture
def body() -> LaneBody:
    return LaneBody.NATIVE


def polled(make_world: MakeWorld) -> RecordBatch:
    """All records in one batch, from a lane that is closed since."""
    world = make_world()
    world.produce(RECORDS)
    lane = world.open()
    batch = lane.poll(len(RECORDS), LIMIT, LIMIT).records  # returns as soon as all are there
    lane.close()
    return batch


def test_columns_are_sequences_that_outlive_their_lane(make_world: MakeWorld) -> None:
    batch = polled(make_world)
    values: list[bytes | None] = [b"first", b"", None, b"last"]
    headers: list[Headers | None] = [None, None, [("why", b"\x00"), ("none", None)], None]
    assert (list(batch.keys), list(batch.values), list(batch.headers)) == ([b"a", None, b"", b"d"], values, headers)
    assert [len(batch.keys), len(batch.values), len(batch.headers)] == [4, 4, 4]
    assert batch.values[-1] == b"last"
    for part in (slice(1, 3), slice(None, None, -1), slice(-3, None, 2), slice(3, 1), slice(9, 12)):
        assert list(batch.values[part]) == values[part]
        assert list(batch.values[part][:1]) == values[part][:1]
    assert list(batch.take(np.array([3, 0], np.intp)).values) == [b"last", b"first"]
    for row in (4, -5):
        with pytest.raises(IndexError, match="of 4"):
            batch.values[row]


def test_what_is_not_bytes_or_has_another_length_is_refused(make_world: MakeWorld) -> None:
    world = make_world()
    lane = world.open()
    row, stamp = np.zeros(1, np.int32), np.zeros(1, np.int64)
    with pytest.raises(TypeError, match="bytes or None"):
        lane.write([OutputBatch(world.output_topic, row, stamp, [None], ["text"])], {})  # type: ignore[list-item]
    with pytest.raises(ValueError, match="differ in length"):
        lane.write([OutputBatch(world.output_topic, row, stamp, [None], [b"", b""])], {})


def test_a_lane_may_leave_at_any_moment_of_joining(make_world: MakeWorld) -> None:
    """One that leaves while its assignment is on the way has no rebalance protocol: the process used to die of it."""
    bystander = make_world(delivery=Delivery.AT_LEAST_ONCE).open()  # passes the time
    for moment_ms in range(95, 110, 2):
        world = make_world(delivery=Delivery.AT_LEAST_ONCE, group_protocol=GroupProtocol.CONSUMER)  # a group of its own
        lane = world.open()
        bystander.poll(1, timedelta(milliseconds=moment_ms))
        lane.close()
