"""Latency as a subscriber sees it: from a record's timestamp to a committed read of its prediction."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from millrace.core.errors import FatalError
from millrace.kafka.admin import Admin, TopicSpec
from tests.perf.contestants import Contestant, Running, Stage, pacing, running

_WARM_UP: Final = timedelta(seconds=5)
_START: Final = timedelta(minutes=2)

Watch: TypeAlias = Callable[[timedelta], NDArray[np.float64]]
"""Reads predictions for so long: the latency of each, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in milliseconds, and how many records they are of."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    records: int


def measure(stage: Stage, rate: int, span: timedelta) -> Latency:
    """Send at a rate and read predictions for so long, after a warm-up.

    Raises:
        FatalError: The scorer ended, or no prediction came.
    """
    with watching(stage, rate) as watch:
        return told(watch(span))


def told(found: NDArray[np.float64]) -> Latency:
    """The quantiles of what was found."""
    p50, p99, p999 = np.quantile(found, (0.5, 0.99, 0.999)).round(1).tolist()
    return Latency(p50, p99, p999, len(found))


@contextmanager
def watching(stage: Stage, rate: int) -> Iterator[Watch]:
    """A scorer that is sent records at a rate and has warmed up.

    Raises:
        FatalError: As for `measure`.
    """
    topic = f"perf-{uuid.uuid4().hex[:8]}.features"
    admin = Admin(stage.kafka)
    admin.ensure_topics([TopicSpec(topic)])
    with running(stage, Contestant.SCORER, topic) as scorer, fed(stage, scorer, topic, rate) as watch:
        yield watch
    admin.delete_topics([topic])


@contextmanager
def fed(stage: Stage, contestant: Running, topic: str, rate: int) -> Iterator[Watch]:
    """Anyone at work on a topic, who keeps the keys of records, is sent records at a rate and has warmed up.

    Raises:
        FatalError: As for `measure`.
    """
    _await_output(Admin(stage.kafka), contestant)
    with pacing(stage, topic, rate), _reader(stage, contestant) as consumer:
        _read(consumer, contestant, _WARM_UP)
        yield lambda span: _read(consumer, contestant, span)


def _await_output(admin: Admin, contestant: Running) -> None:
    """The scorer makes its topics shortly before it is ready."""
    deadline = time.monotonic() + _START.total_seconds()
    while contestant.output not in admin.topic_names():
        contestant.check()
        if time.monotonic() > deadline:
            raise FatalError(f"{contestant.group} is not ready after {_START}")
        time.sleep(0.1)


@contextmanager
def _reader(stage: Stage, contestant: Running) -> Iterator[Consumer]:
    """Of its outputs, past the first one."""
    consumer = Consumer(
        {
            **stage.kafka.client(),
            "group.id": contestant.group + "-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(contestant.output, 0, 0)])
    deadline = time.monotonic() + _START.total_seconds()
    while not consumer.consume(1, 0.1):
        contestant.check()
        if time.monotonic() > deadline:
            raise FatalError(f"no prediction of {contestant.group} after {_START}")
    yield consumer
    consumer.close()


def _read(consumer: Consumer, contestant: Running, span: timedelta) -> NDArray[np.float64]:
    """Milliseconds from the sending of each record, which its key tells, to the read of its prediction."""
    latencies: list[NDArray[np.float64]] = []
    end = time.monotonic() + span.total_seconds()
    while time.monotonic() < end:
        messages = [*consumer.consume(1, 0.005), *consumer.consume(1_000, 0)]
        now = time.time_ns()
        if not messages:
            contestant.check()
        latencies.append((now - np.array([message.key() for message in messages], "S").astype(np.int64)) / 1e6)
    return np.concatenate(latencies)
