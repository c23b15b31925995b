"""Records a second and CPU seconds per million records of a contestant that is warm and has all its work before it."""

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from millrace.core.errors import FatalError
from millrace.core.records import TopicPartition
from millrace.kafka.admin import Admin, TopicSpec
from tests.perf import workload
from tests.perf.contestants import Contestant, Running, Stage, running

_LOOK: Final = timedelta(milliseconds=10)
_LIMIT: Final = timedelta(minutes=10)
_WARM_UP_TRANSACTIONS: Final = 3
_TAIL: Final = 20  # the last twentieth of the records is not measured: what is left over waits for more to come


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one run showed.

    Attributes:
        records_per_sec: Committed records a second.
        cpu_secs_per_million: CPU seconds of the contestant's process for a million records.
    """

    records_per_sec: float
    cpu_secs_per_million: float


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    records: int
    cpu: float


def measure(stage: Stage, who: Contestant, records: int, *, transaction_records: int) -> Throughput:
    """Let a contestant work through a topic; progress is what its group has committed.

    It warms up on a few transactions and is stopped while the topic is filled, so that all the work on the measured
    records, fetching included, falls into the measured time, and nobody fills topics during it.

    Raises:
        FatalError: It ended early, or needs more than ten minutes.
    """
    topic = f"perf-{uuid.uuid4().hex[:8]}.features"
    admin = Admin(stage.kafka)
    admin.ensure_topics([TopicSpec(topic)])
    with running(stage, who, topic, transaction_records=transaction_records) as contestant:
        warm_up = _WARM_UP_TRANSACTIONS * transaction_records
        workload.fill(stage.kafka, topic, warm_up)
        _wait_for(admin, contestant, topic, warm_up)
        contestant.suspend()
        workload.fill(stage.kafka, topic, records)
        start = _Sample(time.perf_counter(), warm_up, contestant.cpu_seconds())
        contestant.resume()
        end = _wait_for(admin, contestant, topic, warm_up + records - records // _TAIL)
    admin.delete_topics([topic])
    done = end.records - start.records
    return Throughput(done / (end.at - start.at), (end.cpu - start.cpu) / done * 1e6)


def _wait_for(admin: Admin, contestant: Running, topic: str, records: int) -> _Sample:
    deadline = time.monotonic() + _LIMIT.total_seconds()
    while time.monotonic() < deadline:
        committed = int(admin.committed(contestant.group).get(TopicPartition(topic, 0), 0))
        sample = _Sample(time.perf_counter(), committed, contestant.cpu_seconds())
        if committed >= records:
            return sample
        contestant.check()
        time.sleep(_LOOK.total_seconds())
    raise FatalError(f"{contestant.group} has not committed {records} records in {_LIMIT}")
