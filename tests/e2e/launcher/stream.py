"""A stream of records while processes come and go, and what must be true of its predictions."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread

import numpy as np
from fleet_stage import PATIENCE, workers

from millrace.codec.reading import read_prediction
from millrace.core.records import OutputBatch
from millrace.kafka.reading import Reader, Until
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually
from tests.chaos.verdict import Seen, judge

_TURN_SECS = 0.05
_LATELY_SECS = 2.0


@dataclass
class Feed:
    """Sends records all the time, at a rate that may be changed meanwhile."""

    broker: Broker
    topic: str
    partitions: int
    rate: float = 200.0
    delivery_timeout: timedelta = timedelta(seconds=30)
    sent: int = 0

    def send(self, stopping: Event) -> None:
        due = 0.0
        with Writer(self.broker.kafka, delivery_timeout=self.delivery_timeout) as writer:
            while not stopping.wait(_TURN_SECS):
                due += self.rate * _TURN_SECS
                numbers = np.arange(self.sent, self.sent + int(due))
                due -= len(numbers)
                values = [b'{"a": %d, "b": 0.5, "c": -1}' % each for each in numbers.tolist()]
                stamps = np.full(len(numbers), time.time_ns() // 1_000_000, np.int64)
                partitions = (numbers % self.partitions).astype(np.int32)
                writer.write(OutputBatch(self.topic, partitions, stamps, [None] * len(numbers), values))
                writer.flush()
                self.sent += len(numbers)


@dataclass
class Follower:
    """Reads predictions as they become readable, and says how old their records were."""

    broker: Broker
    topic: str
    seen: int = 0
    _ages: deque[tuple[float, float]] = field(default_factory=deque)

    def follow(self, stopping: Event) -> None:
        with Reader(self.broker.kafka, self.topic, until=Until.STOPPED) as reader:
            while not stopping.is_set():
                batch = reader.read()
                self.seen += len(batch)
                if len(batch):
                    self._ages.append((time.monotonic(), time.time() - float(batch.timestamps_ms.min()) / 1000))

    def oldest(self) -> float | None:
        """The age in seconds of the oldest record whose prediction came lately; None where none came."""
        since = time.monotonic() - _LATELY_SECS
        while self._ages and self._ages[0][0] < since:
            self._ages.popleft()
        return max((age for _, age in list(self._ages)), default=None)


@contextmanager
def beside(work: Callable[[Event], None]) -> Iterator[None]:
    """Do something on a thread while inside."""
    stopping = Event()
    thread = Thread(target=work, args=(stopping,), name=work.__name__)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@contextmanager
def never_too_many(deployment: str, most: Callable[[], int]) -> Iterator[None]:
    """Watch the process table while inside: no slot has two scorers, and no more than one too many are there in all."""
    seen = list[list[int]]()

    def watch(stopping: Event) -> None:
        while not stopping.wait(0.2):
            allowed = most()
            found = sorted(workers(deployment))
            if len(found) > len(set(found)) or len(found) > max(allowed, most()) + 1:
                seen.append(found)

    with beside(watch):
        yield
    assert seen == [], "a slot had two processes, or there were too many"


def verdict(broker: Broker, topic: str, deployment: str) -> int:
    """Every record has one prediction, in the order of its partition. Returns how many."""
    expected: dict[int, list[int]] = {}
    with Reader(broker.kafka, topic) as reader:
        for batch in reader:
            for partition, offset in zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True):
                expected.setdefault(partition, []).append(offset)
    total = sum(map(len, expected.values()))

    def predictions() -> Seen:
        seen = Seen()
        with Reader(broker.kafka, f"{deployment}.predictions") as reader:
            for batch in reader:
                for value, partition in zip(batch.values, batch.partitions.tolist(), strict=True):
                    source = read_prediction(value)["source"]
                    if source["topic"] == topic:  # A gateway's answers are there as well.
                        seen.add(partition, source["offset"])
        return seen

    eventually(lambda: predictions().count >= total, within=PATIENCE, what=f"{total} predictions")
    found = judge(predictions().offsets, expected)
    assert found.is_clean, found
    assert total > 0
    return total
