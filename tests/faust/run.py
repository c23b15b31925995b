"""One run of the experiment, from empty topics to a verdict."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import TypedDict

import numpy as np

from millrace.core.errors import TransientError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader, Until
from millrace.kafka.writing import BY_KEY, Writer, at_writing
from millrace.testing.broker import Broker
from millrace.testing.waiting import Deadline
from tests.faust.plan import Plan, Strike
from tests.faust.verdict import Evidence, Report, Verdict, judge

SHELL = Path(__file__).parents[2] / "topologies/faust/judge_shell.py"
_DRAIN = timedelta(minutes=2)
_SHARDS = 4


class _Made(TypedDict):
    pane: str
    shard: int
    count: int


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        plan: What was done.
        verdict: What is wrong with the reports.
        records: How many records of evidence there were.
        recovery_secs: After each kill that was waited for, time until every partition had gone on.
        hangs: Kills after which that took longer than the patience; all workers were killed and started again.
        ended: Workers that ended without being killed; each was started again.
        errors: The names of the errors in their log, and how often.
        behind: Records without a report when the feed had stopped and the drain was over.
    """

    plan: Plan
    verdict: Verdict
    records: int
    recovery_secs: list[float]
    hangs: int
    ended: int
    errors: dict[str, int]
    behind: int

    @property
    def is_clean(self) -> bool:
        """Whether Faust survived: no hang, no wrong table, nothing twice, nothing lost."""
        return self.verdict.is_clean and not self.hangs

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"figure": "faust", "clean": self.is_clean, **asdict(self)})


def run(plan: Plan, broker: Broker, python: Path, *, log: Path, say: Say) -> Result:
    """Carry out a plan. What the workers say is added to the log."""
    name = f"faust-{plan.seed}-{time.time_ns() // 1_000_000}"
    compacted = {"cleanup.policy": "compact"}
    topics = [TopicSpec(f"{name}.{noun}", plan.partitions) for noun in ("evidence", "reports")]
    tables = [TopicSpec(f"{name}-{table}-changelog", plan.partitions, compacted) for table in ("shards", "readings")]
    Admin(broker.kafka).ensure_topics([*topics, *tables])
    with tempfile.TemporaryDirectory(prefix="millrace-faust-") as folder, _Watch(broker, f"{name}.reports") as watch:
        workers = _Workers(plan, broker, name, python=python, folder=Path(folder), log=log)
        with workers, _feeding(broker, f"{name}.evidence", plan) as fed:
            experiment = _Experiment(plan, workers, watch, fed, say)
            experiment.carry_out()
            fed.stop()
            behind = watch.wait_for(fed.records, say)
            workers.stop()
        why = _whys(log.read_text(encoding="utf-8", errors="replace"))
    evidence = list(_evidence(broker, f"{name}.evidence"))
    verdict = judge(watch.reports, evidence)
    return Result(plan, verdict, len(evidence), experiment.recovered, experiment.hangs, workers.ended, why, behind)


class _Workers:
    """Faust workers, each with a folder of its own, to be killed and started again."""

    def __init__(self, plan: Plan, broker: Broker, name: str, *, python: Path, folder: Path, log: Path) -> None:
        self._command = [str(python), str(SHELL), "worker", "--without-web", "--loglevel", "info"]
        self._folder = folder
        self._log = log
        self._environment = {
            **os.environ,
            "FAUST_APP": name,
            "FAUST_BROKER": broker.bootstrap,
            "FAUST_STORE": plan.store,
            "FAUST_PARTITIONS": str(plan.partitions),
            "FAUST_GUARANTEE": plan.guarantee,
            "FAUST_CHECK": str(int(plan.check)),
        }
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ended = 0
        for number in range(plan.workers):
            self.start(number)

    def start(self, number: int) -> None:
        """Start a worker in its folder."""
        environment = {**self._environment, "FAUST_DATA": str(self._folder / f"data-{number}")}
        with self._log.open("ab") as log:
            self._processes[number] = subprocess.Popen(self._command, env=environment, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        """End a worker as a power cut would."""
        self._processes[number].kill()
        self._processes[number].wait()

    def revive(self) -> None:
        """Start the workers again that ended by themselves, as a supervisor would."""
        for number, process in self._processes.items():
            if process.poll() is not None:
                self.ended += 1
                self.start(number)

    def stop(self) -> None:
        """Ask all to stop, so that what they still hold is committed; kill those that do not within a minute."""
        for process in self._processes.values():
            process.terminate()
        for number, process in self._processes.items():
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill(number)

    def restart_all(self) -> None:
        """Kill and start everything."""
        for number in list(self._processes):
            self.kill(number)
            self.start(number)

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._processes:
            self.kill(number)


class _Watch:
    """A reader of committed reports that is there all the time."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.reports: list[Report] = []
        self._newest: dict[int, int] = {}
        self._stopping = Event()
        self._reader = Reader(broker.kafka, topic, until=Until.STOPPED)
        self._thread = Thread(target=self._watch, name="watch")

    def newest(self) -> dict[int, int]:
        """The newest offset of evidence that was reported, by partition."""
        return dict(self._newest)

    def wait_for(self, records: int, say: Say) -> int:
        """Until so many records were reported, or the time for it is over; how many are missing."""
        deadline = Deadline.after(_DRAIN)
        while (seen := len({report.source for report in self.reports})) < records and not deadline.has_passed:
            say(f"{seen} of {records} reports are readable")
            time.sleep(2)
        return records - seen

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._reader.close()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = self._reader.read()
            except TransientError:
                continue
            for value in batch.values:
                document = json.loads(value or b"")
                partition, offset = document["source"]
                self.reports.append(Report((partition, offset), document["total"], document["readings"]))
                self._newest[partition] = max(offset, self._newest.get(partition, -1))


class _Feed:
    """Evidence at a steady rate, from a thread of its own."""

    def __init__(self, broker: Broker, topic: str, plan: Plan) -> None:
        self.records = 0
        self._stopping = Event()
        self._thread = Thread(target=self._feed, args=(broker, topic, plan), name="feed")
        self._thread.start()

    def stop(self) -> None:
        """End it; everything that was fed is written."""
        self._stopping.set()
        self._thread.join()

    def _feed(self, broker: Broker, topic: str, plan: Plan) -> None:
        random, tick = Random(plan.seed), 0.2
        with Writer(broker.kafka) as writer:
            while not self._stopping.wait(tick):
                some = [_made(random, self.records + number) for number in range(round(plan.records_per_sec * tick))]
                keys = [record["pane"].encode() for record in some]
                values = [json.dumps(record).encode() for record in some]
                places = np.full(len(some), BY_KEY, np.int32)
                writer.write(OutputBatch(topic, places, at_writing(len(some)), keys, values))
                writer.flush()
                self.records += len(some)


@contextmanager
def _feeding(broker: Broker, topic: str, plan: Plan) -> Iterator[_Feed]:
    feed = _Feed(broker, topic, plan)
    try:
        yield feed
    finally:
        feed.stop()


class _Experiment:
    """The strikes, and what was measured of them."""

    def __init__(self, plan: Plan, workers: _Workers, watch: _Watch, feed: _Feed, say: Say) -> None:
        self.recovered: list[float] = []
        self.hangs = 0
        self._plan, self._workers, self._watch, self._feed, self._say = plan, workers, watch, feed, say

    def carry_out(self) -> None:
        """Everything from the first report to the last recovery."""
        started = self._recover()
        self._say("the workers never started" if started is None else f"started in {started:.1f} s")
        time.sleep(self._plan.calm_secs)
        for number, strike in enumerate(self._plan.strikes(), 1):
            self._strike(number, strike)

    def _strike(self, number: int, strike: Strike) -> None:
        time.sleep(strike.after)
        self._workers.revive()
        self._workers.kill(strike.worker)
        killed = time.monotonic()
        time.sleep(strike.down)
        self._workers.start(strike.worker)
        said = f"{number}/{self._plan.kills} worker {strike.worker} killed, back after {strike.down:.1f} s"
        if not strike.waits:
            self._say(f"{said}; no time to recover")
            return
        if self._recover() is None:
            self.hangs += 1
            self._say(f"{said}: HANGS")
            self._workers.restart_all()
            self._recover()
            return
        self.recovered.append(round(time.monotonic() - killed, 1))
        self._say(f"{said}; recovered {self.recovered[-1]} s after the kill")

    def _recover(self) -> float | None:
        """Wait until every partition has gone on by some records; how long it took, None when it took too long."""
        begun, before = time.monotonic(), self._watch.newest()
        while time.monotonic() - begun < self._plan.patience_secs:
            now = self._watch.newest()
            if all(now.get(each, -1) > before.get(each, -1) + 5 for each in range(self._plan.partitions)):
                return time.monotonic() - begun
            self._workers.revive()
            time.sleep(0.2)
        return None


def _whys(log: str) -> dict[str, int]:
    """The errors that tracebacks in the log end with."""
    return dict(Counter(re.findall(r"^(?:\w+\.)*(\w+Error): ", log, re.MULTILINE)).most_common(5))


def _made(random: Random, number: int) -> _Made:
    """One of the shards of one of the newest panes; panes move on as event time does."""
    pane = number // 40 - random.randrange(8)
    return {
        "pane": f"1/*/{max(pane, 0) * 60_000}",
        "shard": random.randrange(_SHARDS),
        "count": random.randrange(10_000),
    }


def _whole(broker: Broker, topic: str) -> RecordBatch:
    with Reader(broker.kafka, topic) as reader:
        return RecordBatch.concat([RecordBatch.empty(topic), *reader])


def _evidence(broker: Broker, topic: str) -> Iterator[Evidence]:
    batch = _whole(broker, topic)
    for partition, offset, value in zip(batch.partitions.tolist(), batch.offsets.tolist(), batch.values, strict=True):
        document = json.loads(value or b"")
        yield Evidence((partition, offset), document["pane"], document["shard"], document["count"])
