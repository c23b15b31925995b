"""What is said of a broker that is too busy to keep up with its controller."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.core.errors import TransientError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import KafkaSettings

NAME = "rain.features"


def refused(code: int) -> Mapping[str, Future[None]]:
    answer: Future[None] = Future()
    answer.set_exception(KafkaException(KafkaError(code)))
    return {NAME: answer}


class Behind:
    """A client of a broker whose controller has a topic that the broker has not heard of."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.is_first = True

    def create_topics(self, orders: Iterable[object], *, request_timeout: float) -> Mapping[str, Future[None]]:
        return refused(KafkaError.TOPIC_ALREADY_EXISTS)

    def list_topics(self, *, timeout: float) -> SimpleNamespace:
        if self.is_first:
            self.is_first = False
            return SimpleNamespace(brokers={1: SimpleNamespace(host="127.0.0.1", port=1)})
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def describe_topics(self, names: object, *, request_timeout: float) -> Mapping[str, Future[None]]:
        return refused(KafkaError.UNKNOWN_TOPIC_OR_PART)

    def poll(self, timeout: float) -> int:
        return 0


def test_a_topic_that_a_busy_broker_has_not_heard_of_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.kafka.admin.AdminClient", Behind)
    admin = Admin(KafkaSettings(bootstrap="127.0.0.1:1"))
    with pytest.raises(TransientError, match=r"not every broker knows yet who leads rain\.features .*try again"):
        admin.ensure_topics([TopicSpec(NAME)])
