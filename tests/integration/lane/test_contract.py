"""The real lanes pass the suite of all lanes."""

import pytest

from millrace.core.lane import Delivery
from millrace.process.deployment import GroupProtocol
from millrace.process.settings import LaneBody
from millrace.testing.contracts.kafka_world import MakeWorld
from millrace.testing.contracts.lane import GroupLaneContract, LaneContract, LaneWorld, TransactionalLaneContract


class TestExactlyOnce(TransactionalLaneContract):
    @pytest.fixture(params=[GroupProtocol.CONSUMER, GroupProtocol.CLASSIC])
    def world(self, make_world: MakeWorld, request: pytest.FixtureRequest) -> LaneWorld:
        # One producer under the one protocol and two under the other: nothing about them depends on it.
        return make_world(group_protocol=request.param, alternate=request.param is GroupProtocol.CONSUMER)


class TestAtLeastOnce(GroupLaneContract):
    @pytest.fixture
    def world(self, make_world: MakeWorld) -> LaneWorld:
        return make_world(delivery=Delivery.AT_LEAST_ONCE)


class TestShared(LaneContract):
    @pytest.fixture
    def body(self) -> LaneBody:
        return LaneBody.PYTHON  # there is no other

    @pytest.fixture
    def world(self, make_world: MakeWorld) -> LaneWorld:
        return make_world(delivery=Delivery.SHARED)
