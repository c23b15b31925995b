"""Latency as a subscriber sees it: from a record's timestamp to a committed read of its prediction."""

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from millrace.core.errors import FatalError
from millrace.kafka.admin import Admin, TopicSpec
from tests.perf.contestants import Contestant, Running, Stage, pacing, running

_WARM_UP: Final = timedelta(seconds=5)
_START: Final = timedelta(minutes=2)


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
    topic = f"perf-{uuid.uuid4().hex[:8]}.features"
    admin = Admin(stage.kafka)
    admin.ensure_topics([TopicSpec(topic)])
    with running(stage, Contestant.SCORER, topic) as scorer:
        _await_output(admin, scorer)
        with pacing(stage, topic, rate):
            found = _read(stage, scorer, span)
    admin.delete_topics([topic])
    p50, p99, p999 = np.quantile(found, (0.5, 0.99, 0.999)).round(1).tolist()
    return Latency(p50, p99, p999, len(found))


def _await_output(admin: Admin, scorer: Running) -> None:
    """The scorer makes its topics shortly before it is ready."""
    deadline = time.monotonic() + _START.total_seconds()
    while scorer.output not in admin.topic_names():
        scorer.check()
        if time.monotonic() > deadline:
            raise FatalError(f"{scorer.group} is not ready after {_START}")
        time.sleep(0.1)


def _read(stage: Stage, scorer: Running, span: timedelta) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    consumer = Consumer(
        {
            **stage.kafka.client(),
            "group.id": scorer.group + "-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(scorer.output, 0, 0)])
    latencies: list[float] = []
    start = None
    deadline = time.monotonic() + _START.total_seconds()
    while start is None or time.monotonic() < start + (_WARM_UP + span).total_seconds():
        messages = consumer.consume(1_000, 0.005)
        now = time.time() * 1000
        if not messages:
            scorer.check()
            if start is None and time.monotonic() > deadline:
                raise FatalError(f"no prediction of {scorer.group} after {_START}")
            continue
        start = start or time.monotonic()
        if time.monotonic() > start + _WARM_UP.total_seconds():
            latencies += [now - message.timestamp()[1] for message in messages]
    consumer.close()
    return np.array(latencies)
