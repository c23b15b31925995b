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
        found = watch(span)
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
    with running(stage, Contestant.SCORER, topic) as scorer:
        _await_output(admin, scorer)
        with pacing(stage, topic, rate), _reader(stage, scorer) as consumer:
            _read(consumer, scorer, _WARM_UP)
            yield lambda span: _read(consumer, scorer, span)
    admin.delete_topics([topic])


def _await_output(admin: Admin, scorer: Running) -> None:
    """The scorer makes its topics shortly before it is ready."""
    deadline = time.monotonic() + _START.total_seconds()
    while scorer.output not in admin.topic_names():
        scorer.check()
        if time.monotonic() > deadline:
            raise FatalError(f"{scorer.group} is not ready after {_START}")
        time.sleep(0.1)


@contextmanager
def _reader(stage: Stage, scorer: Running) -> Iterator[Consumer]:
    """Of the scorer's predictions, past the first one."""
    consumer = Consumer(
        {
            **stage.kafka.client(),
            "group.id": scorer.group + "-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(scorer.output, 0, 0)])
    deadline = time.monotonic() + _START.total_seconds()
    while not consumer.consume(1, 0.1):
        scorer.check()
        if time.monotonic() > deadline:
            raise FatalError(f"no prediction of {scorer.group} after {_START}")
    yield consumer
    consumer.close()


def _read(consumer: Consumer, scorer: Running, span: timedelta) -> NDArray[np.float64]:
    """Milliseconds from each record's timestamp to the read of its prediction."""
    latencies: list[float] = []
    end = time.monotonic() + span.total_seconds()
    while time.monotonic() < end:
        messages = consumer.consume(1_000, 0.005)
        now = time.time() * 1000
        if not messages:
            scorer.check()
        latencies += [now - message.timestamp()[1] for message in messages]
    return np.array(latencies)
