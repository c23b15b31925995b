from pathlib import Path

import pytest
from materializer_stream import Stream

from millrace.kafka.admin import Admin
from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory


@pytest.fixture
def stream(broker: Broker, own_redis: LocalRedis, topic: TopicFactory, tmp_path: Path) -> Stream:
    name = topic("features", partitions=3)
    quick = {"consumer.session.timeout.ms": "3000", "consumer.heartbeat.interval.ms": "500"}
    Admin(broker.kafka).configure_group(f"materializer-{name}", quick)
    return Stream(broker, own_redis.settings, Settings(home=tmp_path / "home"), name, 3)
