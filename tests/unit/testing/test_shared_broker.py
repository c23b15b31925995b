"""Which broker a test run has: `--broker local|container|HOST:PORT`."""

import sys

import pytest

from millrace.core.errors import RequestError
from millrace.testing.container import IMAGE, broker_environment
from millrace.testing.shared_broker import shared_broker


def test_an_address_is_borrowed_and_cannot_be_stopped() -> None:
    with shared_broker("kafka-1:9092,kafka-2:9092") as broker:
        assert broker.kafka.bootstrap == broker.bootstrap == "kafka-1:9092,kafka-2:9092"
        with pytest.raises(RequestError, match="cannot be stopped"):
            broker.stop()


def test_anything_else_is_refused() -> None:
    with pytest.raises(RequestError, match="--broker remote is no broker"), shared_broker("remote"):
        pass


def test_without_testcontainers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.core.container", None)
    with pytest.raises(RequestError, match="not installed") as refused, shared_broker("container"):
        pass
    assert "millrace[containers]" in str(refused.value.remedy)


def test_a_container_has_the_settings_of_the_local_broker() -> None:
    environment = broker_environment(20_123)
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "CLIENT://127.0.0.1:20123,INTERNAL://localhost:9094"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS"] == "6000"
    assert IMAGE == "apache/kafka:4.3.1"
