from datetime import timedelta

import pytest

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery
from millrace.kafka.lane import LaneSpec
from millrace.kafka.lane.opening import group_config
from millrace.process.deployment import GroupProtocol


def test_a_slot_keeps_its_identities() -> None:
    spec = LaneSpec("weather", 3, "weather.features")
    assert spec.transactional_ids == tuple(f"millrace-weather-3-{letter}" for letter in "abc")
    assert LaneSpec("weather", 3, "weather.features", alternate=False).transactional_ids == ("millrace-weather-3-a",)


def test_the_group_is_named_after_the_deployment() -> None:
    assert LaneSpec("weather", 0, "weather.features").group == "millrace-weather"
    assert LaneSpec("weather", 0, "weather.features", group="mine").group == "mine"


def test_a_negative_slot_is_refused() -> None:
    with pytest.raises(RequestError, match="slot -1 of weather"):
        LaneSpec("weather", -1, "weather.features")


def test_a_transaction_timeout_that_no_broker_can_meet_is_refused() -> None:
    with pytest.raises(RequestError, match="transaction timeout"):
        LaneSpec("weather", 0, "weather.features", transaction_timeout=timedelta(milliseconds=10))


class TestGroupConfig:
    spec = LaneSpec("weather", 0, "weather.features", session_timeout=timedelta(seconds=6))

    def test_a_kip_848_session_belongs_to_the_group(self) -> None:
        assert group_config(self.spec) == {
            "consumer.session.timeout.ms": "6000",
            "consumer.heartbeat.interval.ms": "1500",
        }

    def test_a_classic_session_belongs_to_the_member(self) -> None:
        classic = LaneSpec("d", 0, "t", group_protocol=GroupProtocol.CLASSIC, session_timeout=timedelta(seconds=6))
        assert group_config(classic) == {}

    def test_nothing_is_set_that_was_not_asked_for(self) -> None:
        assert group_config(LaneSpec("weather", 0, "weather.features")) == {}

    def test_a_share_group_reads_from_the_start_and_gives_records_every_chance(self) -> None:
        shared = LaneSpec("weather", 0, "weather.features", delivery=Delivery.SHARED)
        assert group_config(shared) == {
            "share.auto.offset.reset": "earliest",
            "share.isolation.level": "read_committed",
            "share.delivery.count.limit": "10",
        }
