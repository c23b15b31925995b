"""One peer's run over a topic: records a second and CPU seconds, cold and warm; or latency at a rate."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from millrace.core.errors import FatalError
from millrace.core.records import OutputBatch, TopicPartition
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.writing import Writer
from tests.perf import latency
from tests.perf.contestants import Contestant, Running, Stage, at_work, running
from tests.perf.latency import Latency
from tests.perf.peers import predictions
from tests.perf.peers.cells import Cell
from tests.perf.peers.peers import PEERS, Command, Place, Progress, Who
from tests.perf.throughput import Throughput

_LOOK: Final = timedelta(milliseconds=10)
_LIMIT: Final = timedelta(minutes=3)
_LINGER_MS: Final = 100
_MOST_RECORDS: Final = 20_000
_TAIL: Final = 20
"""The last twentieth of the records is not measured: what is left over waits for more to come."""

_OURS: Final = {Who.NATIVE: Contestant.NATIVE, Who.SCORER: Contestant.SCORER, Who.PLAIN: Contestant.PLAIN}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run showed.

    Attributes:
        passes: Throughput of each pass, the first one cold.
        difference: The largest one of a prediction; None for one who predicts nothing.
        memory_mib: Resident memory at its most.
    """

    passes: Sequence[Throughput]
    difference: float | None
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Paced:
    """What one run at a steady rate showed, with the CPU that it took: 1 is a core."""

    latency: Latency
    cores: float
    memory_mib: int


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    records: int
    cpu: float


class Race:
    """Lets one peer after another work, each on a topic of its own with the same records.

    Args:
        stage: Where.
        commands: How those are started who are not millrace's.
        cell: What they score.
        transaction_records: Records of a transaction of the plain cell.
    """

    def __init__(self, stage: Stage, commands: Mapping[Who, Command], cell: Cell, *, transaction_records: int) -> None:
        self._stage = stage
        self._commands = commands
        self._cell = cell
        self._transaction_records = cell.records(transaction_records)
        self._admin = Admin(stage.kafka)
        self._expected = predictions.expected(stage.model_file, cell.rows)

    def run(self, who: Who) -> Run:
        """One run.

        Raises:
            FatalError: It ended early, takes too long, or predicts something else.
        """
        peer, topic = PEERS[who], f"perf-{uuid.uuid4().hex[:8]}.features"
        self._admin.ensure_topics([TopicSpec(topic, self._cell.partitions)])
        with self._at_work(who, topic, self._transaction_records) as contestant:
            self._warm_up(who, contestant, topic)
            passes = list(self._passes(who, contestant, topic))
            difference = None
            if peer.scores:
                difference = predictions.check(self._stage.kafka, contestant.output, self._expected)
            memory = contestant.memory_mib()
        self._admin.delete_topics([topic])
        return Run(passes, difference, round(memory))

    def pace(self, who: Who, rate: int, span: timedelta, *, linger_ms: int) -> Paced:
        """One run at a steady rate. A transaction ends at most `linger_ms` after its first record.

        Raises:
            FatalError: It ended early, or writes nothing.
        """
        topic = f"perf-{uuid.uuid4().hex[:8]}.features"
        self._admin.ensure_topics([TopicSpec(topic)])
        with (
            self._at_work(who, topic, None, linger_ms=linger_ms) as contestant,
            latency.fed(self._stage, contestant, topic, rate) as watch,
        ):
            before, start = contestant.cpu_seconds(), time.perf_counter()
            found = latency.told(watch(span))
            cores = (contestant.cpu_seconds() - before) / (time.perf_counter() - start)
            memory = contestant.memory_mib()
        self._admin.delete_topics([topic])
        return Paced(found, round(cores, 2), round(memory))

    def _warm_up(self, who: Who, contestant: Running, topic: str) -> None:
        if who is Who.MLSERVER:  # it reads only what is written while it listens
            deadline = time.monotonic() + _LIMIT.total_seconds()
            while not self._done(who, contestant, topic) and time.monotonic() < deadline:
                self._fill(who, topic, 1)
                contestant.check()
        records = self._cell.records(PEERS[who].warm_up)
        self._fill(who, topic, records)
        self._wait_for(who, contestant, topic, records)

    def _passes(self, who: Who, contestant: Running, topic: str) -> Iterator[Throughput]:
        records = self._cell.records(PEERS[who].records)
        for _ in range(PEERS[who].passes):
            contestant.suspend()
            self._fill(who, topic, records)
            start = self._sample(who, contestant, topic)
            contestant.resume()
            end = self._wait_for(who, contestant, topic, start.records + records - records // _TAIL)
            done = end.records - start.records
            yield Throughput(done / (end.at - start.at), (end.cpu - start.cpu) / done * 1e6)
            self._wait_for(who, contestant, topic, start.records + records)

    def _wait_for(self, who: Who, contestant: Running, topic: str, records: int) -> _Sample:
        deadline = time.monotonic() + _LIMIT.total_seconds()
        while time.monotonic() < deadline:
            if (sample := self._sample(who, contestant, topic)).records >= records:
                return sample
            contestant.check()
            time.sleep(_LOOK.total_seconds())
        raise FatalError(
            f"{contestant.group} has not done {records} records in {_LIMIT}: {contestant.log.read_text()[-2000:]}"
        )

    def _sample(self, who: Who, contestant: Running, topic: str) -> _Sample:
        done = self._done(who, contestant, topic)
        return _Sample(time.perf_counter(), done, contestant.cpu_seconds())

    def _done(self, who: Who, contestant: Running, topic: str) -> int:
        if PEERS[who].progress is Progress.WRITTEN:
            return sum(self._admin.high_watermarks([contestant.output])[contestant.output].values())
        committed = self._admin.committed(contestant.group)
        return sum(committed.get(TopicPartition(topic, partition), 0) for partition in range(self._cell.partitions))

    def _fill(self, who: Who, topic: str, records: int) -> None:
        if who is Who.MLSERVER:
            _fill_with_requests(self._stage, topic, self._cell, records)
        else:
            self._cell.fill(self._stage.kafka, topic, records)

    @contextmanager
    def _at_work(
        self, who: Who, topic: str, transaction_records: int | None, *, linger_ms: int = _LINGER_MS
    ) -> Iterator[Running]:
        """A peer with transactions of so many records, or, with None, of those that come in `linger_ms`."""
        workers = self._cell.workers
        if who in _OURS:
            with running(
                self._stage,
                _OURS[who],
                topic,
                transaction_records=transaction_records,
                linger_ms=linger_ms,
                workers=workers,
            ) as contestant:
                yield contestant
            return
        name = f"perf-{who}-{uuid.uuid4().hex[:8]}"
        output = f"{name}.predictions"
        places = [
            Place(
                bootstrap=self._stage.kafka.bootstrap,
                topic=topic,
                output=output,
                group=name,
                member=f"{name}-{worker}",
                model=self._stage.model_file,
                features=self._cell.features,
                data=self._stage.folder / f"{name}-{worker}",
                transaction_records=transaction_records or _MOST_RECORDS,
                linger_ms=linger_ms,
            )
            for worker in range(workers)
        ]
        self._admin.ensure_topics([TopicSpec(output, self._cell.partitions)])
        for place in places:
            place.data.mkdir()
        starts = [(self._commands[who](place), place.environment()) for place in places]
        with at_work(self._stage, starts, group=name, output=output) as contestant:
            yield contestant
        self._admin.delete_topics([output])


def _fill_with_requests(stage: Stage, topic: str, cell: Cell, records: int) -> None:
    """The same records as MLServer's Kafka mode takes them: a request of one row each, with the model in a header."""
    rows = cell.rows.tolist()
    headers = [[("mlserver-model", b"perf")]] * records
    with Writer(stage.kafka) as writer:
        values = [_request(rows[index % len(rows)]) for index in range(records)]
        keys = [b"%d" % index for index in range(records)]
        times = np.zeros(records, np.int64)
        writer.write(OutputBatch(topic, np.zeros(records, np.int32), times, keys, values, headers))
        writer.flush()


def _request(row: Sequence[float]) -> bytes:
    tensor = {"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
