"""Any topic to a real Valkey: kills, rebalances, restarts, lost data, full memory."""

from dataclasses import replace
from datetime import timedelta

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from materializer_stream import Stream
from redis import Redis

from millrace.core.errors import RequestError
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import Shutdown
from millrace.store.local_redis import LocalRedis
from millrace.store.lookup import Fullness
from millrace.testing.redis import temporary_redis
from millrace.testing.waiting import eventually


def test_the_newest_value_of_each_key_is_found_with_its_coordinates(stream: Stream) -> None:
    stream.send([(b"oslo", b"1"), (b"bergen", b"2"), (b"oslo", b"3"), (None, b"4")])
    stream.send([(b"rome", b"5"), (b"paris", b"6"), (b"paris", None)], partition=2)
    with stream.running():
        stream.wait_for({b"oslo": b"3", b"bergen": b"2", b"rome": b"5", b"paris": None})
        stream.send([(b"bergen", None), (b"oslo", b"7")])
        stream.wait_for({b"oslo": b"7", b"bergen": None})
    records = stream.found(b"oslo").records
    assert records.coordinates(0) == Coordinates(stream.topic, 0, 5)


def test_a_materializer_that_comes_back_reads_on_from_where_redis_is(stream: Stream) -> None:
    stream.send([(b"a", b"1")])
    with stream.running():
        stream.wait_for({b"a": b"1"})
    stream.send([(b"a", b"2"), (b"b", b"3")])
    with stream.running():
        stream.wait_for({b"a": b"2", b"b": b"3"})


def test_kills_at_any_time_lose_and_undo_nothing(stream: Stream) -> None:
    count = 30_000
    keys = [b"k%d" % (number % 5_000) for number in range(count)]
    for partition in range(3):
        stream.send([(b"%b-%d" % (key, partition), b"%d" % row) for row, key in enumerate(keys)], partition=partition)
    for wanted in (0, 1, 2):
        with stream.process() as process:
            # As soon as it has written anything, or for the first kill before that.
            eventually(lambda: stream.moved() >= wanted * 5_000, within=timedelta(seconds=120))  # noqa: B023 -- called at once
            process.kill()
    expected = {
        b"k%d-%d" % (number, partition): b"%d" % (count - 5_000 + number)
        for number in range(5_000)
        for partition in range(3)
    }
    with stream.process():
        stream.wait_for(expected)


def test_two_share_the_partitions_and_one_takes_over(stream: Stream) -> None:
    with stream.running(name="first"):
        for partition in range(3):
            stream.send([(b"k%d" % partition, b"1")], partition=partition)
        stream.wait_for({b"k0": b"1", b"k1": b"1", b"k2": b"1"})
        with stream.running(name="second"):
            for partition in range(3):
                stream.send([(b"k%d" % partition, b"%d" % number) for number in range(2, 12)], partition=partition)
            stream.wait_for({b"k0": b"11", b"k1": b"11", b"k2": b"11"})
        stream.send([(b"k1", b"12")], partition=1)
        stream.wait_for({b"k0": b"11", b"k1": b"12"})


def test_a_store_that_was_killed_and_lost_everything_is_filled_again(stream: Stream, own_redis: LocalRedis) -> None:
    stream.send([(b"a", b"1"), (b"b", b"2")])
    with stream.running():
        stream.wait_for({b"a": b"1", b"b": b"2"})
        own_redis.kill()
        stream.send([(b"b", b"3")])
        own_redis.start()
        stream.wait_for({b"a": b"1", b"b": b"3"})


def test_a_store_that_comes_back_with_older_data_is_read_on_from_there(stream: Stream) -> None:
    with temporary_redis({"save": "3600 1000000"}) as saving:
        kept = replace(stream, redis=saving.settings)
        kept.send([(b"a", b"1")])
        with kept.running():
            kept.wait_for({b"a": b"1"})
            saving.stop()  # saves
            saving.start()
            kept.send([(b"a", b"2"), (b"b", b"2")])
            kept.wait_for({b"a": b"2", b"b": b"2"})
            saving.kill()
            saving.start()
            kept.wait_for({b"a": b"2", b"b": b"2"})


def test_a_full_store_is_filled_up_once_there_is_room(stream: Stream) -> None:
    big = b"x" * 100_000
    with temporary_redis({"maxmemory": "4mb"}) as small:
        crowded = replace(stream, redis=small.settings)
        crowded.send([(b"k%d" % number, big) for number in range(60)])
        with crowded.running():
            eventually(lambda: crowded.found().fullness is Fullness.FILLING, what="a table that cannot be filled")
            with Redis.from_url(small.settings.url) as server:
                server.config_set("maxmemory", "100mb")
            crowded.wait_for({b"k%d" % number: big for number in range(60)})


def test_values_are_forgotten_after_their_time(stream: Stream) -> None:
    stream.send([(b"a", b"1")])
    with stream.running(ttl=timedelta(milliseconds=1)):
        eventually(lambda: stream.found().fullness is Fullness.FILLED, what="the table")
    assert stream.values(b"a") == [None]


def test_records_that_retention_deleted_do_not_hold_it_up(stream: Stream) -> None:
    stream.send([(b"a", b"1"), (b"a", b"2")])
    client = AdminClient({"bootstrap.servers": stream.broker.bootstrap})
    for answer in client.delete_records([TopicPartition(stream.topic, 0, 1)]).values():
        answer.result()
    with stream.running():
        stream.wait_for({b"a": b"2"})


def test_a_topic_that_was_made_anew_is_refused_until_the_old_table_is_deleted(stream: Stream) -> None:
    stream.send([(b"a", b"1")])
    with stream.running():
        stream.wait_for({b"a": b"1"})
    admin = Admin(stream.broker.kafka)
    admin.delete_topics([stream.topic])
    eventually(lambda: stream.topic not in admin.topic_names(), what="the end of the topic")
    admin.ensure_topics([TopicSpec(stream.topic, stream.partitions)])
    stream.send([(b"b", b"2")])
    with pytest.raises(RequestError, match=r"earlier topic of this name.*--forget"):
        stream.materializer().run(Shutdown(clock=SystemClock()))
    stream.materializer().forget()
    with stream.running():
        stream.wait_for({b"a": None, b"b": b"2"})


def test_a_topic_that_does_not_exist_is_refused(stream: Stream) -> None:
    absent = replace(stream, topic="absent.features")
    with pytest.raises(RequestError, match=r"no such topic|absent\.features"):
        absent.materializer().run(Shutdown(clock=SystemClock()))
