"""From a topic of stations to predictions that use them, and back by key: materializers, a scorer and a real Valkey."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from materializer_stream import Stream as Table
from scorer_stream import Stream

from millrace.codec.reading import read_prediction
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

STATIONS = ("oslo", "rome", "bergen")


@pytest.fixture
def mill(broker: Broker, own_redis: LocalRedis, tmp_path: Path) -> "Mill":
    settings = Settings(home=tmp_path / "home", redis=own_redis.settings)
    stream = Stream(broker, settings, f"online-{uuid.uuid4().hex[:8]}")
    stream.push(tmp_path / "bundle")
    return Mill(stream, own_redis)


class Mill:
    """A deployment whose feature c is kept by station, and whose predictions are kept by station, too."""

    def __init__(self, stream: Stream, redis: LocalRedis) -> None:
        self.stream = stream
        self.redis = redis
        self.stations = self._table(f"{stream.name}.stations")
        self.predictions = self._table(f"{stream.name}.predictions")

    def _table(self, topic: str) -> Table:
        kafka = self.stream.broker.kafka
        Admin(kafka).ensure_topics([TopicSpec(topic, 1)])
        quick = {"consumer.session.timeout.ms": "3000", "consumer.heartbeat.interval.ms": "500"}
        Admin(kafka).configure_group(f"materializer-{topic}", quick)
        return Table(self.stream.broker, self.redis.settings, self.stream.settings, topic)

    @contextmanager
    def running(self) -> Iterator[None]:
        enrich = [{"table": self.stations.topic, "features": ["c"]}]
        with ExitStack() as stack:
            stack.enter_context(self.stations.running(name="stations"))
            stack.enter_context(self.predictions.running(name="predictions"))
            stack.enter_context(self.stream.running(self.stream.deployment(enrich=enrich)))
            yield

    def measure(self, c: float) -> None:
        """Every station says a new c."""
        self.stations.send([(name.encode(), json.dumps({"c": c}).encode()) for name in STATIONS])

    def ask(self, names: Sequence[str]) -> None:
        self.stream.send([b'{"a": 1, "b": 2}'] * len(names), keys=[name.encode() for name in names])

    def newest(self, name: str) -> float:
        """The c of the newest prediction of a station, as the online store has it."""
        [value] = self.predictions.values(name.encode())
        assert value is not None
        c = read_prediction(value)["enriched"]["c"]
        assert isinstance(c, float)
        return c


def test_a_store_that_loses_everything_delays_predictions_and_spoils_none(mill: Mill) -> None:
    mill.measure(1)
    with mill.running():
        mill.stations.wait_for({b"oslo": b'{"c": 1}'})
        mill.ask(STATIONS)
        mill.stream.wait_for(3)
        eventually(lambda: mill.newest("rome") == 1, what="the newest prediction of rome")
        mill.redis.kill()
        mill.ask(STATIONS)
        mill.redis.start()
        mill.stream.wait_for(6)
        mill.measure(2)
        mill.stations.wait_for({b"rome": b'{"c": 2}'})
        mill.ask(["rome"])
        mill.stream.wait_for(7)
        eventually(lambda: mill.newest("rome") == 2, within=timedelta(seconds=120), what="the new prediction of rome")
        assert mill.newest("bergen") == 1
    assert [each["enriched"]["c"] for each in mill.stream.predictions()] == [1, 1, 1, 1, 1, 1, 2]
    assert mill.stream.dead_letters() == []
