"""A materializer on a real broker and a real Valkey, and what the outside sees of its table."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from millrace.core.records import OutputBatch
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.settings import RedisSettings, Settings
from millrace.store.lookup import Found, Fullness, Lookup
from millrace.store.online import OnlineStore
from millrace.store.online_table import OnlineTable
from millrace.testing.broker import Broker
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_materializer.app import Materializer, Order


@dataclass(frozen=True)
class Stream:
    """One topic and its table."""

    broker: Broker
    redis: RedisSettings
    settings: Settings
    topic: str
    partitions: int = 1

    def send(self, records: Sequence[tuple[bytes | None, bytes | None]], *, partition: int = 0) -> None:
        keys, values = [key for key, _ in records], [value for _, value in records]
        count = len(records)
        now = np.full(count, SystemClock().wall_ms(), np.int64)
        with Writer(self.broker.kafka) as writer:
            writer.write(OutputBatch(self.topic, np.full(count, partition, np.int32), now, keys, values))
            writer.flush()

    @contextmanager
    def running(self, *, ttl: timedelta | None = None, name: str = "materializer") -> Iterator[None]:
        """A materializer at work; whatever ended it early is raised at the end."""
        with at_work(self.materializer(ttl).run, name=name):
            yield

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """A materializer in a process of its own, which is killed at the end unless it was before."""
        environment = {
            **os.environ,
            "MILLRACE_KAFKA__BOOTSTRAP": self.broker.bootstrap,
            "MILLRACE_REDIS__URL": self.redis.url,
            "MILLRACE_HOME": str(self.settings.home),
        }
        command = [sys.executable, "-m", "millrace_materializer", "--topic", self.topic]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def moved(self) -> int:
        """How many offsets the table has moved past, of all partitions."""
        with closing(OnlineTable(self.redis, self.topic, topic_id="")) as table:
            return sum(place or 0 for place in table.places(range(self.partitions)).values())

    def materializer(self, ttl: timedelta | None = None) -> Materializer:
        order = Order(self.topic, ttl)
        return Materializer(self.settings, self.broker.kafka, self.redis, order, clock=SystemClock())

    def found(self, *keys: bytes) -> Found:
        with OnlineStore(self.redis) as store:
            return store.fetch([Lookup(self.topic, keys)])[0]

    def values(self, *keys: bytes) -> list[bytes | None]:
        found = self.found(*keys)
        return [None if row < 0 else found.records.values[row] for row in found.rows]

    def wait_for(self, expected: Mapping[bytes, bytes | None]) -> None:
        """Until the table is full and holds exactly this of these keys."""

        def holds() -> bool:
            assert self.found().fullness is Fullness.FILLED
            assert self.values(*expected) == list(expected.values())
            return True

        eventually(holds, within=timedelta(seconds=120), what=f"the table of {self.topic}")
