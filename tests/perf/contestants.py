"""Processes that turn a topic of features into a topic of outputs, started all in the same way."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

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
        process: Its process.
        group: Its consumer group, whose committed offsets show how far it is.
        output: Where it writes.
        log: What it said.
    """

    process: psutil.Process
    group: str
    output: str
    log: Path

    def cpu_seconds(self) -> float:
        """User and system time that the process has used so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def check(self) -> None:
        """Raise FatalError when the contestant has given up."""
        if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
            raise FatalError(f"{self.group} has ended: {self.log.read_text()[-2000:]}")


@contextmanager
def running(stage: Stage, who: Contestant, topic: str, *, transaction_records: int | None = None) -> Iterator[Running]:
    """Run a contestant on a topic, from its beginning, until the block ends; then its output topics go.

    Args:
        stage: Where.
        who: Which of them.
        topic: What to read.
        transaction_records: Records of a transaction; None leaves it to the scorer's own policy.
    """
    name = f"perf-{who}-{uuid.uuid4().hex[:8]}"
    output = f"{name}.predictions"
    admin = Admin(stage.kafka)
    outputs = [output]
    if who in _SCORERS:
        command, group = _scorer(stage, who, name, topic, transaction_records), f"scorer-{name}"
        outputs += [f"{name}.dlq", f"{name}.handovers", f"{name}.shadows"]
    else:
        command, group = _loop(stage, who, topic, output, name), name
        command += ["--transaction-records", str(transaction_records)]
        admin.ensure_topics([TopicSpec(output)])
    with at_work(stage, command, _environment(stage, who), group=group, output=output) as contestant:
        yield contestant
    admin.delete_topics([topic for topic in outputs if topic in admin.topic_names()])


@contextmanager
def at_work(
    stage: Stage, command: Sequence[str], environment: Mapping[str, str], *, group: str, output: str
) -> Iterator[Running]:
    """Run a program until the block ends; it is killed, then."""
    log = stage.folder / f"{group}.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(command, env=environment, stdout=file, stderr=file) as child,
    ):
        try:
            yield Running(psutil.Process(child.pid), group, output, log)
        finally:
            child.kill()  # What is open is aborted by the broker; the topic goes anyway.


@contextmanager
def pacing(stage: Stage, topic: str, rate: int) -> Iterator[None]:
    """Send records to the topic at a rate until the block ends."""
    command = [sys.executable, "-m", "tests.perf.loops", "pace", "--bootstrap", stage.kafka.bootstrap]
    with subprocess.Popen([*command, "--topic", topic, "--rate", str(rate)]) as child:
        try:
            yield
        finally:
            child.kill()


def _scorer(stage: Stage, who: Contestant, name: str, topic: str, transaction_records: int | None) -> list[str]:
    document: dict[str, Any] = {"deployment": name, "source": {"topic": topic}, "model": stage.model}
    if who is Contestant.SHADOW:
        document["rollout"] = {"mode": "shadow", "challenger": f"{stage.model}/2"}
    if transaction_records is not None:
        # Throughput: batches and transactions of a given size, however old the records are.
        document["batch"] = {
            "max_records": transaction_records,
            "transaction_records": transaction_records,
            "transaction_ms": 1_000,
            "max_wait_ms": 1_000,
        }
        document["slo"] = {"latency_ms": 86_400_000}
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return [sys.executable, "-m", "millrace_scorer", "--file", str(path), "--slot", "0"]


def _loop(stage: Stage, who: Contestant, topic: str, output: str, group: str) -> list[str]:
    command = [sys.executable, "-m", "tests.perf.loops", who.value, "--bootstrap", stage.kafka.bootstrap]
    return [*command, "--topic", topic, "--output", output, "--group", group, "--model", str(stage.model_file)]


def _environment(stage: Stage, who: Contestant) -> Mapping[str, str]:
    """The same for everybody; one thread each for what brings its own, as the scorer's default has it."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    address = {"MILLRACE_KAFKA__BOOTSTRAP": stage.kafka.bootstrap, "MILLRACE_HOME": str(stage.home)}
    body = LaneBody.NATIVE if who is Contestant.NATIVE else LaneBody.PYTHON
    return {**os.environ, **threads, **address, "MILLRACE_LANE": body.value}
