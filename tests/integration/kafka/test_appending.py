"""One appender at a time, on the real broker."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from millrace.core.errors import FatalError
from millrace.kafka.admin import TopicSpec
from millrace.kafka.appending import AppendLog, Entry
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually


@pytest.fixture
def topic() -> TopicSpec:
    return TopicSpec(f"log-{uuid.uuid4().hex[:10]}", 1, {"cleanup.policy": "delete"})


@pytest.fixture
def log(broker: Broker, topic: TopicSpec) -> Iterator[AppendLog]:
    with AppendLog(broker.kafka, topic, key="weather", appender=f"appender-{topic.name}") as log:
        yield log


def test_what_is_appended_is_read_by_whoever_comes_next(broker: Broker, topic: TopicSpec, log: AppendLog) -> None:
    assert log.read_all() == []
    written = log.append([b"one", b"two"])
    assert [entry.value for entry in written] == [b"one", b"two"]
    read: list[Entry] = []

    def is_read() -> bool:
        read.extend(log.read(timedelta(milliseconds=100)))
        return len(read) == 2

    eventually(is_read)
    assert read == written
    with AppendLog(broker.kafka, topic, key="weather", appender="another") as other:
        assert other.read_all() == written
    with AppendLog(broker.kafka, topic, key="loans", appender="a third") as stranger:
        assert stranger.read_all() == []


def test_whoever_takes_over_sees_everything_and_the_earlier_one_is_refused(
    broker: Broker, topic: TopicSpec, log: AppendLog
) -> None:
    first = log.append([b"one"])
    with AppendLog(broker.kafka, topic, key="weather", appender=f"appender-{topic.name}") as successor:
        assert successor.read_all() == first
        with pytest.raises(FatalError, match="another process has taken over"):
            log.append([b"too late"])
        successor.append([b"two"])
        with AppendLog(broker.kafka, topic, key="weather", appender="reader") as reader:
            assert [entry.value for entry in reader.read_all()] == [b"one", b"two"]
