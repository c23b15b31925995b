"""Reading for clients: where it begins, where it ends, and what it never shows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from confluent_kafka import Producer

from millrace.core.errors import RequestError
from millrace.core.records import Coordinates, OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.connection import Link
from millrace.kafka.reading import Position, Reader, Start, Until, find
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

FOR_EVER = "-1"
"""The records are of 1970, which a topic forgets at its next look at its retention."""


def write(
    broker: Broker | LocalBroker, topic: str, values: list[bytes], *, partition: int = 0, first_ms: int = 1_000
) -> None:
    count = len(values)
    times = np.arange(first_ms, first_ms + count, dtype=np.int64)
    with Writer(broker.kafka) as writer:
        writer.write(OutputBatch(topic, np.full(count, partition, np.int32), times, [None] * count, values))


def read(broker: Broker, topic: str, start: Start = Position.EARLIEST) -> list[bytes | None]:
    with Reader(broker.kafka, topic, start=start) as reader:
        return [value for batch in reader for value in batch.values]


def await_settled(broker: Broker, topic: str) -> None:
    """Wait for the marker of a transaction that has ended: it is written a little after the client knows."""
    admin = Admin(broker.kafka)
    eventually(lambda: not any(ends.has_open_transaction for ends in admin.ends([topic]).values()))


@pytest.fixture
def transaction(broker: Broker, topic: TopicFactory) -> Iterator[tuple[str, Producer]]:
    """A topic with one committed record, and a producer with an open transaction on it."""
    name = topic(retention_ms=FOR_EVER)
    write(broker, name, [b"before"])
    producer = Producer(broker.kafka.client(**{"transactional.id": f"test-{name}"}))
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush(10)
    yield name, producer
    producer.purge()


def test_everything_of_all_partitions_is_read_once(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=3, retention_ms=FOR_EVER)
    for partition in (0, 2):
        write(broker, name, [b"%d-%d" % (partition, n) for n in range(3_000)], partition=partition)
    found = read(broker, name)
    assert sorted(filter(None, found)) == sorted(b"%d-%d" % (p, n) for p in (0, 2) for n in range(3_000))
    assert [value for value in found if value and value.startswith(b"2")] == [b"2-%d" % n for n in range(3_000)]


def test_an_empty_topic_ends_at_once(broker: Broker, topic: TopicFactory) -> None:
    with Reader(broker.kafka, topic(partitions=2, retention_ms=FOR_EVER)) as reader:
        assert reader.finished
        assert list(reader) == []


def test_reading_begins_where_it_is_told(broker: Broker, topic: TopicFactory) -> None:
    name = topic(retention_ms=FOR_EVER)
    write(broker, name, [b"0", b"1", b"2", b"3"], first_ms=1_000)
    assert read(broker, name, {0: 2}) == [b"2", b"3"]
    assert read(broker, name, datetime.fromtimestamp(1.001, UTC)) == [b"1", b"2", b"3"]
    assert read(broker, name, datetime.fromtimestamp(2, UTC)) == []
    assert read(broker, name, Position.LATEST) == []


def test_offsets_restrict_the_reading_to_their_partitions(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2, retention_ms=FOR_EVER)
    for partition in (0, 1):
        write(broker, name, [b"%d" % partition] * 2, partition=partition)
    assert read(broker, name, {1: 1}) == [b"1"]
    with pytest.raises(RequestError, match="it has no partition 7") as refused:
        read(broker, name, {7: 0})
    assert refused.value.remedy == "its partitions are 0 to 1"


def test_what_is_written_later_is_beyond_the_end(broker: Broker, topic: TopicFactory) -> None:
    name = topic(retention_ms=FOR_EVER)
    write(broker, name, [b"0", b"1"])
    with Reader(broker.kafka, name) as reader:
        write(broker, name, [b"2"])
        assert [value for batch in reader for value in batch.values] == [b"0", b"1"]
        assert reader.finished


def test_a_reader_that_is_to_be_stopped_waits_for_more(broker: Broker, topic: TopicFactory) -> None:
    name = topic(retention_ms=FOR_EVER)
    with Reader(broker.kafka, name, start=Position.LATEST, until=Until.STOPPED) as reader:
        assert len(reader.read(timeout=timedelta(milliseconds=10))) == 0
        write(broker, name, [b"new"])
        batch = eventually(lambda: found if len(found := reader.read()) else None)
        assert batch is not None
        assert list(batch.values) == [b"new"]
        assert not reader.finished


def test_an_open_transaction_is_not_shown(broker: Broker, transaction: tuple[str, Producer]) -> None:
    name, producer = transaction
    assert read(broker, name) == [b"before"]
    producer.commit_transaction(10)
    await_settled(broker, name)
    assert read(broker, name) == [b"before", b"open"]


def test_an_aborted_transaction_is_not_shown_and_the_end_is_reached(
    broker: Broker, transaction: tuple[str, Producer]
) -> None:
    name, producer = transaction
    producer.abort_transaction(10)
    await_settled(broker, name)
    assert read(broker, name) == [b"before"]
    assert read(broker, name, {0: 1}) == []
    with pytest.raises(RequestError, match="is no record that a reader may see"):
        find(broker.kafka, Coordinates(name, 0, 1))


def test_one_record_is_found_by_its_coordinates(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2, retention_ms=FOR_EVER)
    write(broker, name, [b"0", b"1", b"2"], partition=1)
    batch = find(broker.kafka, Coordinates(name, 1, 1))
    assert (len(batch), batch.values[0], str(batch.coordinates(0))) == (1, b"1", f"{name}-1-1")


def test_a_record_that_is_not_there_is_said_why(broker: Broker, topic: TopicFactory) -> None:
    name = topic(retention_ms=FOR_EVER)
    write(broker, name, [b"0"])
    with pytest.raises(RequestError, match=r"is not written yet: .* ends at offset 1"):
        find(broker.kafka, Coordinates(name, 0, 1))
    with pytest.raises(RequestError, match="has no partition 3"):
        find(broker.kafka, Coordinates(name, 3, 0))
    with pytest.raises(RequestError, match="there is no topic 'no-such-topic'"):
        find(broker.kafka, Coordinates("no-such-topic", 0, 0))


def test_a_reader_outlives_a_broker_that_goes_away_and_says_so(own_broker: LocalBroker) -> None:
    Admin(own_broker.kafka).ensure_topics([TopicSpec("kept.features", config={"retention.ms": FOR_EVER})])
    with Reader(own_broker.kafka, "kept.features", until=Until.STOPPED) as reader:
        assert reader.link is Link.UP
        own_broker.kill()
        eventually(lambda: reader.read() is not None and reader.link is Link.AWAY, within=timedelta(seconds=120))
        own_broker.start()
        eventually(lambda: reader.read() is not None and reader.link is Link.UP, within=timedelta(seconds=120))
        write(own_broker, "kept.features", [b"after"])
        batch = eventually(lambda: found if len(found := reader.read()) else None, within=timedelta(seconds=120))
        assert batch is not None
        assert list(batch.values) == [b"after"]
