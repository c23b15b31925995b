"""Pytest fixtures for tests against a real Kafka and a real Redis, in every project that has millrace installed.

A server that cannot start is an error of the test, never a skip.
"""

import os
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from millrace.kafka.broker import LocalBroker
    from millrace.store.local_redis import LocalRedis
    from millrace.testing.broker import Broker

# Every run of pytest imports this module: what needs a Kafka client is imported where it is used.
# ruff: noqa: PLC0415


class TopicFactory(Protocol):
    """Makes topics for one test."""

    def __call__(self, name_hint: str = "features", partitions: int = 1, **config: str) -> str:
        """Create a topic whose name ends in `.<name_hint>` and return its name.

        `config` holds topic settings with underscores for the dots: `cleanup_policy="compact"`.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the run say which broker its tests share."""
    parser.addoption(
        "--broker",
        metavar="local|container|HOST:PORT",
        default=os.environ.get("MILLRACE_TEST_BOOTSTRAP") or "local",
        help="the broker of the fixture `broker`: one started here (local), one in a container of apache/kafka, or the "
        "one at an address (default: MILLRACE_TEST_BOOTSTRAP, else local)",
    )


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> "Iterator[Broker]":
    """The broker of this test run, shared by all tests, see `--broker`; whoever stops it must start it again.

    Only a local one can be stopped.
    """
    from millrace.testing.shared_broker import shared_broker

    with shared_broker(request.config.getoption("--broker")) as running:
        yield running


@pytest.fixture
def own_broker() -> "Iterator[LocalBroker]":
    """A broker for one test alone, which may do with it as it likes."""
    from millrace.testing.broker import temporary_broker

    with temporary_broker() as running:
        yield running


@pytest.fixture(scope="session")
def redis() -> "Iterator[LocalRedis]":
    """The online store of this test run, shared by all tests; tests keep apart by the names of their topics."""
    from millrace.testing.redis import temporary_redis

    with temporary_redis() as running:
        yield running


@pytest.fixture
def own_redis() -> "Iterator[LocalRedis]":
    """An online store for one test alone, which may do with it as it likes; it keeps nothing over a restart."""
    from millrace.testing.redis import temporary_redis

    with temporary_redis() as running:
        yield running


@pytest.fixture
def topic(broker: "Broker", request: pytest.FixtureRequest) -> TopicFactory:
    """A factory of topics with names that no other test has, `<test>-<random>.<hint>`."""
    from millrace.kafka.admin import Admin, TopicSpec

    admin = Admin(broker.kafka)
    stream = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]

    def create(name_hint: str = "features", partitions: int = 1, **config: str) -> str:
        name = f"{stream}-{uuid.uuid4().hex[:8]}.{name_hint}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin.ensure_topics([TopicSpec(name, partitions, settings)])
        return name

    return create
