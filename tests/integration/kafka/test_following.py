"""Followers and starts on a real broker."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from millrace.core.errors import RequestError, TransientError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin
from millrace.kafka.following import Follower, Place, client_settings, find_place
from millrace.kafka.reading import Position, Start
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings, SaslMechanism, SecurityProtocol
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import Deadline

LIMIT = timedelta(seconds=20)


def write(broker: Broker, topic: str, partition: int, *values: bytes, at_ms: int = 0) -> None:
    count = len(values)
    with Writer(broker.kafka) as writer:
        writer.write(
            OutputBatch(
                topic, np.full(count, partition, np.int32), np.full(count, at_ms, np.int64), [b"k"] * count, values
            )
        )


@pytest.fixture
def transactional(broker: Broker, topic: TopicFactory) -> Iterator[Producer]:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"test-{topic('tx')}"})
    producer.init_transactions(10)
    yield producer
    producer.purge()


def follow(broker: Broker, topic: str, positions: Mapping[int, int], count: int) -> tuple[list[bytes], dict[int, int]]:
    """The first `count` values from there, and the positions after them."""

    async def read() -> tuple[list[bytes], dict[int, int]]:
        found: list[bytes] = []
        deadline = Deadline.after(LIMIT)
        async with await Follower.open(broker.kafka, topic, positions) as follower:
            while len(found) < count and not deadline.has_passed:
                found += filter(None, (await follower.read(limit=2)).values)
            return found, follower.positions

    return asyncio.run(read())


def test_reads_from_the_positions_on(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2)
    write(broker, name, 0, b"a0", b"a1", b"a2")
    write(broker, name, 1, b"b0", b"b1")
    found, positions = follow(broker, name, {0: 1, 1: 0}, 4)
    assert [value for value in found if value.startswith(b"a")] == [b"a1", b"a2"]
    assert [value for value in found if value.startswith(b"b")] == [b"b0", b"b1"]
    assert positions == {0: 3, 1: 2}


def test_aborted_records_are_passed_over_and_marks_are_passed(
    broker: Broker, topic: TopicFactory, transactional: Producer
) -> None:
    name = topic()
    for value, end in ((b"yes", transactional.commit_transaction), (b"no", transactional.abort_transaction)):
        transactional.begin_transaction()
        transactional.produce(name, value)
        transactional.flush(10)
        end(10)
    write(broker, name, 0, b"last")
    found, positions = follow(broker, name, {0: 0}, 2)
    assert found == [b"yes", b"last"]
    assert positions == {0: 5}


def test_what_was_deleted_is_said(broker: Broker, topic: TopicFactory) -> None:
    name = topic(retention_ms="1000", segment_ms="100")
    write(broker, name, 0, b"a")
    with pytest.raises(RequestError, match="deleted"):
        follow(broker, name, {0: 7}, 1)


def test_no_broker_is_transient() -> None:
    async def read() -> None:
        await Follower.open(KafkaSettings(bootstrap="127.0.0.1:1"), "any", {0: 0})

    with pytest.raises(TransientError, match="MILLRACE_KAFKA__BOOTSTRAP"):
        asyncio.run(read())


def test_starts(broker: Broker, topic: TopicFactory) -> None:
    name = topic(partitions=2)
    now = datetime.now(UTC).replace(microsecond=0)
    old_ms = int((now - timedelta(hours=1)).timestamp() * 1000)
    write(broker, name, 0, b"old", at_ms=old_ms)
    write(broker, name, 0, b"new", at_ms=int(now.timestamp() * 1000))

    def place(start: Start, of: str = name) -> Place:
        return find_place(broker.kafka, Admin(broker.kafka), of, start)

    assert place(Position.EARLIEST) == Place({0: 0, 1: 0})
    assert place(Position.LATEST) == Place({0: 2, 1: 0})
    assert place(now - timedelta(minutes=1)) == Place({0: 1, 1: 0})
    assert place({0: 1}) == Place({0: 1, 1: 0}), "partitions that are not named begin at the start"
    for beyond in ({0: 3}, {7: 0}):
        with pytest.raises(RequestError, match="never written"):
            place(beyond)
    with pytest.raises(RequestError, match="no such topic"):
        place(Position.LATEST, f"{name}-absent")


def test_credentials_are_those_of_the_settings() -> None:
    settings = client_settings(
        KafkaSettings(
            bootstrap="broker:9092",
            security_protocol=SecurityProtocol.SASL_SSL,
            sasl_mechanism=SaslMechanism.SCRAM_SHA_512,
            sasl_username="gateway",
            sasl_password=SecretStr("secret"),
            ssl_verify_hostname=False,
        )
    )
    assert settings["security_protocol"] == "SASL_SSL"
    assert (settings["sasl_mechanism"], settings["sasl_plain_password"]) == ("SCRAM-SHA-512", "secret")
    assert not settings["ssl_context"].check_hostname
    with pytest.raises(RequestError, match=r"kafka\.properties nor Kerberos"):
        client_settings(KafkaSettings(bootstrap="broker:9092", properties={"sasl.kerberos.keytab": "me"}))
