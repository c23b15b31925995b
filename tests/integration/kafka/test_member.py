"""A member of a real consumer group that is told where to read."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta

import numpy as np
import pytest
from confluent_kafka import Producer

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin
from millrace.kafka.member import Member
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

SOON = timedelta(milliseconds=50)


def write(broker: Broker, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    count = len(values)
    with Writer(broker.kafka) as writer:
        numbers = np.full(count, partition, np.int32)
        writer.write(OutputBatch(topic, numbers, np.zeros(count, np.int64), [None] * count, values))


@contextmanager
def joined(broker: Broker, topic: str, group: str | None = None) -> Iterator[Member]:
    name = group or f"group-{topic}"
    quick = {"consumer.session.timeout.ms": "3000", "consumer.heartbeat.interval.ms": "500"}
    Admin(broker.kafka).configure_group(name, quick)
    with closing(Member(broker.kafka, topic, group=name)) as member:
        yield member


def read(member: Member, count: int) -> list[bytes | None]:
    """The next `count` values, whatever batches they come in."""
    found: list[bytes | None] = []

    def is_enough() -> bool:
        found.extend(member.read(100, SOON).values)
        return len(found) >= count

    eventually(is_enough, within=timedelta(seconds=120), what=f"{count} records")
    return found


def assigned(member: Member, count: int) -> None:
    def has_them() -> bool:
        assert not len(member.read(100, SOON))
        return len(member.owned()) == count

    eventually(has_them, within=timedelta(seconds=120), what=f"{count} partitions")


def test_nothing_is_delivered_before_somebody_says_from_where(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2)
    write(broker, name, [b"0", b"1", b"2"])
    with joined(broker, name) as member:
        assigned(member, 2)
        assert member.waiting() == {0, 1}
        assert not len(member.read(100, timedelta(milliseconds=300)))
        member.place({0: 1, 7: 3})
        assert member.waiting() == {1}
        assert read(member, 2) == [b"1", b"2"]
        assert member.reached() == {0: 3}
        assert member.lag() == 0


def test_a_place_may_lie_before_what_was_read(broker: Broker, topic: TopicFactory) -> None:
    name = topic()
    write(broker, name, [b"0", b"1", b"2"])
    with joined(broker, name) as member:
        assigned(member, 1)
        member.place({0: 0})
        assert read(member, 3) == [b"0", b"1", b"2"]
        member.displace([0])
        write(broker, name, [b"3"])
        assert not len(member.read(100, timedelta(milliseconds=300)))
        member.place({0: 1})
        assert read(member, 3) == [b"1", b"2", b"3"]


def test_what_it_reached_is_past_marks_and_aborted_records(broker: Broker, topic: TopicFactory) -> None:
    name = topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"test-{name}"})
    producer.init_transactions(10)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(name, b"1", partition=0)
        producer.flush(10)
        end(10)
    with joined(broker, name) as member:
        assigned(member, 1)
        member.place({0: 0})
        assert read(member, 1) == [b"1"]
        end_offset = member.ends()[0][1]
        assert end_offset == 4
        eventually(lambda: not len(member.read(100, SOON)) and member.reached() == {0: end_offset}, what="the end")


def test_what_another_member_gets_is_ours_no_more(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2)
    with joined(broker, name) as first:
        assigned(first, 2)
        first.place({0: 0, 1: 0})
        with joined(broker, name) as second:

            def is_shared() -> bool:
                first.read(100, SOON)
                second.read(100, SOON)
                return len(first.owned()) == len(second.owned()) == 1

            eventually(is_shared, within=timedelta(seconds=120), what="one partition each")
            assert first.owned() | second.owned() == {0, 1}
            assert set(first.reached()) == first.owned()
            assert second.waiting() == second.owned()
        assigned(first, 2)
        assert first.waiting() == {0, 1} - set(first.reached())
        assert len(first.waiting()) == 1


def test_a_place_before_the_oldest_record_begins_with_the_oldest(broker: Broker, topic: TopicFactory) -> None:
    name = topic()
    write(broker, name, [b"0"])
    with joined(broker, name) as member:
        assigned(member, 1)
        member.place({0: 99})
        assert read(member, 1) == [b"0"]


def test_a_topic_that_does_not_exist_is_refused(broker: Broker) -> None:
    with pytest.raises(RequestError, match=r"absent\.features"):
        Member(broker.kafka, "absent.features", group="nobody")
