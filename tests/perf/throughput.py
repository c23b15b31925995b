"""Records a second and CPU seconds per million records, of a contestant on a full topic."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from millrace.core.errors import FatalError
from millrace.core.records import TopicPartition
from millrace.kafka.admin import Admin
from tests.perf.contestants import Contestant, Running, Stage, running

_LOOK: Final = timedelta(milliseconds=10)
_LIMIT: Final = timedelta(minutes=10)
_WARM_UP: Final = 10  # a tenth of the records


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one run showed, from the first tenth of the records to the last.

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


def measure(stage: Stage, who: Contestant, topic: str, records: int, *, transaction_records: int) -> Throughput:
    """Let a contestant work through the topic; progress is what its group has committed.

    Raises:
        FatalError: It ended early, or needs more than ten minutes.
    """
    admin = Admin(stage.kafka)
    with running(stage, who, topic, transaction_records=transaction_records) as contestant:
        first = _wait_for(admin, contestant, topic, max(transaction_records, records // _WARM_UP))
        last = _wait_for(admin, contestant, topic, records)
    done = last.records - first.records
    return Throughput(done / (last.at - first.at), (last.cpu - first.cpu) / done * 1e6)


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
