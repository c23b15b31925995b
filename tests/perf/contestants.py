"""Processes that turn a topic of features into a topic of outputs, started all in the same way."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

import psutil

from millrace.core.errors import FatalError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import KafkaSettings, LaneBody


class Contestant(StrEnum):
    """Who is measured."""

    SCORER = "scorer"
    NATIVE = "native"
    """The scorer with the native body of the lane, where that is built."""
    SHADOW = "shadow"
    """The scorer, with a second version of the model beside the first."""
    PLAIN = "plain"
    RELAY = "relay"


_SCORERS: Final = {Contestant.SCORER, Contestant.NATIVE, Contestant.SHADOW}


Start: TypeAlias = tuple[Sequence[str], Mapping[str, str]]
"""The command line of a process, and its environment."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the contest takes place.

    Attributes:
        kafka: The cluster.
        home: MILLRACE_HOME of the scorers: the blob store with the model.
        folder: For files of this run.
        model: The model's name in the registry.
        model_file: Its ONNX file, for those who load it by themselves.
    """

    kafka: KafkaSettings
    home: Path
    folder: Path
    model: str
    model_file: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant at work.

    Attributes:
        processes: Its processes, most often one.
        group: Its consumer group, whose committed offsets show how far it is.
        output: Where it writes.
        log: What it said.
    """

    processes: Sequence[psutil.Process]
    group: str
    output: str
    log: Path

    def cpu_seconds(self) -> float:
        """User and system time that its processes have used so far."""
        times = [process.cpu_times() for process in self.processes]
        return sum(time.user + time.system for time in times)

    def memory_mib(self) -> float:
        """The resident memory of its processes, at its most."""
        return sum(map(_peak_mib, self.processes))

    def suspend(self) -> None:
        """Stop it until it may resume."""
        for process in self.processes:
            process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in self.processes:
            process.resume()

    def check(self) -> None:
        """Raise FatalError when the contestant has given up."""
        if not all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self.processes):
            raise FatalError(f"{self.group} has ended: {self.log.read_text()[-2000:]}")


def _peak_mib(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@contextmanager
def running(
    stage: Stage,
    who: Contestant,
    topic: str,
    *,
    transaction_records: int | None = None,
    linger_ms: int | None = None,
    workers: int = 1,
) -> Iterator[Running]:
    """Run a contestant on a topic, from its beginning, until the block ends; then its output topics go.

    Args:
        stage: Where.
        who: Which of them.
        topic: What to read.
        transaction_records: Records of a transaction; None leaves it to the scorer's own policy.
        linger_ms: How long that policy waits for more records; None leaves it at its default.
        workers: Processes, which only scorers can have several of.
    """
    name = f"perf-{who}-{uuid.uuid4().hex[:8]}"
    output = f"{name}.predictions"
    admin = Admin(stage.kafka)
    outputs = [output]
    if who in _SCORERS:
        command, group = _scorer(stage, who, name, topic, _batch(transaction_records, linger_ms)), f"scorer-{name}"
        commands = [[*command, "--slot", str(slot)] for slot in range(workers)]
        outputs += [f"{name}.dlq", f"{name}.handovers", f"{name}.shadows"]
    else:
        command, group = _loop(stage, who, topic, output, name), name
        commands = [[*command, "--transaction-records", str(transaction_records)]]
        admin.ensure_topics([TopicSpec(output)])
    starts = [(command, _environment(stage, who)) for command in commands]
    with at_work(stage, starts, group=group, output=output) as contestant:
        yield contestant
    admin.delete_topics([topic for topic in outputs if topic in admin.topic_names()])


@contextmanager
def at_work(stage: Stage, starts: Sequence[Start], *, group: str, output: str) -> Iterator[Running]:
    """Run programs until the block ends; they are killed, then."""
    log = stage.folder / f"{group}.log"
    with ExitStack() as stack:
        file = stack.enter_context(log.open("wb"))
        children = []
        for command, environment in starts:
            child = stack.enter_context(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
            stack.callback(child.kill)  # What is open is aborted by the broker; the topic goes anyway.
            children.append(psutil.Process(child.pid))
        yield Running(children, group, output, log)


@contextmanager
def pacing(stage: Stage, topic: str, rate: int) -> Iterator[None]:
    """Send records to the topic at a rate until the block ends."""
    command = [sys.executable, "-m", "tests.perf.loops", "pace", "--bootstrap", stage.kafka.bootstrap]
    with subprocess.Popen([*command, "--topic", topic, "--rate", str(rate)]) as child:
        try:
            yield
        finally:
            child.kill()


def _batch(transaction_records: int | None, linger_ms: int | None) -> Mapping[str, Any]:
    """What of a scorer's document is about batches."""
    if transaction_records is None:
        return {} if linger_ms is None else {"batch": {"max_wait_ms": linger_ms}}
    # Throughput: batches and transactions of a given size, however old the records are.
    batch = {
        "max_records": transaction_records,
        "transaction_records": transaction_records,
        "transaction_ms": 1_000,
        "max_wait_ms": 1_000,
    }
    return {"batch": batch, "slo": {"latency_ms": 86_400_000}}


def _scorer(stage: Stage, who: Contestant, name: str, topic: str, batch: Mapping[str, Any]) -> list[str]:
    document: dict[str, Any] = {"deployment": name, "source": {"topic": topic}, "model": stage.model, **batch}
    if who is Contestant.SHADOW:
        document["rollout"] = {"mode": "shadow", "challenger": f"{stage.model}/2"}
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return [sys.executable, "-m", "millrace_scorer", "--file", str(path)]


def _loop(stage: Stage, who: Contestant, topic: str, output: str, group: str) -> list[str]:
    command = [sys.executable, "-m", "tests.perf.loops", who.value, "--bootstrap", stage.kafka.bootstrap]
    return [*command, "--topic", topic, "--output", output, "--group", group, "--model", str(stage.model_file)]


def _environment(stage: Stage, who: Contestant) -> Mapping[str, str]:
    """The same for everybody; one thread each for what brings its own, as the scorer's default has it."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    address = {"MILLRACE_KAFKA__BOOTSTRAP": stage.kafka.bootstrap, "MILLRACE_HOME": str(stage.home)}
    body = LaneBody.NATIVE if who is Contestant.NATIVE else LaneBody.PYTHON
    return {**os.environ, **threads, **address, "MILLRACE_LANE": body.value}
