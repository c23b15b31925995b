"""Bar 15: records that one process joins from a real broker, beside a loop that consumes the same and does nothing."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from audit_stream import Audited, events
from confluent_kafka import Consumer

from millrace.core.errors import RequestError
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

_PARTITIONS = 2
_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast predictions and labels went through.

    Attributes:
        records_per_second: By the clock, from the first transaction on. Shared machines make it small.
        cpu_seconds_per_million: Processor time of the whole process for a million records, without its start.
    """

    records_per_second: float
    cpu_seconds_per_million: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """The join beside the plain loop, on the same records in the same run."""

    records: int
    join: Speed
    plain: Speed

    @property
    def share(self) -> float:
        """Of the plain loop's speed."""
        return self.join.records_per_second / self.plain.records_per_second


def measure_throughput(broker: Broker, folder: Path, count: int) -> Throughput:
    """Write so many predictions and as many labels, and let both read them."""
    audit = {"window_secs": 3600, "label_horizon_secs": 3600, "orphan_ttl_secs": 86_400}
    audited = Audited(broker, Settings(home=folder / "home"), f"speed-{os.getpid()}", _PARTITIONS, audit)
    audited.push(folder / "bundle")
    for first in range(0, count, _CHUNK):
        made = events(first, first, min(_CHUNK, count - first))
        audited.label(made)
        audited.predict(made)
    return Throughput(2 * count, _join(audited, folder, count), _plain(audited, 2 * count))


def _join(audited: Audited, folder: Path, count: int) -> Speed:
    document = audited.write_document(folder)
    environment = {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": audited.broker.bootstrap,
        "MILLRACE_HOME": str(audited.settings.home),
    }
    command = [sys.executable, "-m", "millrace_auditor", "--role", "join", "--file", str(document)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
        observed: list[tuple[int, float]] = []

        def is_done() -> bool:
            spent, counted = psutil.Process(process.pid).cpu_times(), _counted(audited)
            if counted:
                observed.append((counted[-1][1], spent.user + spent.system))
            return bool(counted) and counted[-1][1] == count

        try:
            eventually(is_done, within=timedelta(minutes=10), what="the evidence of all predictions")
        finally:
            process.kill()
    (first_ms, first), *_, (last_ms, last) = _counted(audited)
    (begun, cpu_begun), *_, (_, cpu_ended) = observed
    rate = 2 * (last - first) * 1000 / (last_ms - first_ms)
    return Speed(rate, (cpu_ended - cpu_begun) / (2 * (count - begun) / 1e6))


def _counted(audited: Audited) -> list[tuple[int, int]]:
    """When each transaction was written, and how many predictions had been counted by then."""
    try:
        records = audited.records(audited.topic("evidence"))
    except RequestError:  # the auditor has not made the topic yet
        return []
    after, counted = dict.fromkeys(range(_PARTITIONS), 0), dict[int, int]()
    for at_ms, value in zip(records.timestamps_ms.tolist(), records.values, strict=True):
        document = json.loads(value or b"")
        if "offsets" in document:
            partition = document["partition"]
            after[partition] = max(after[partition], document["offsets"][1])
            counted[at_ms] = sum(after.values())
    return sorted(counted.items())


def _plain(audited: Audited, count: int) -> Speed:
    settings = {"bootstrap.servers": audited.broker.bootstrap, "group.id": "plain", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    consumer.subscribe([audited.topic("predictions"), audited.topic("labels")])
    polled = consumer.consume(1, 60)
    seen, started, spent = len(polled), time.monotonic(), time.process_time()
    while seen < count:
        seen += sum(record.error() is None for record in consumer.consume(20_000, 0.1))
    elapsed, spent = time.monotonic() - started, time.process_time() - spent
    consumer.close()
    return Speed(count / elapsed, spent / (count / 1e6))
