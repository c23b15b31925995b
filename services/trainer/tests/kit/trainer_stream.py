"""A stream with a champion, labels and requests on the real broker, and a trainer in this process."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.client.labels import Label, LabelOperation, Truth, send_labels
from millrace.client.retraining import request_retraining
from millrace.core.records import Coordinates, OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.appending import RETRAIN_TOPIC, AppendLog
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.retraining import Completed, LoopAnswer, Requested, read_loop_record, write_loop_record
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_trainer.app import Trainer
from millrace_trainer.settings import Training

STARTED_MS = 1_600_000_000_000
"""Event time of the first record; they follow each other by a second."""

ENDS = ("rejected", "promoted", "proposed", "refused", "failed")


@dataclass
class Loop:
    """A model that is to be retrained, and what the outside sees of it."""

    broker: Broker
    settings: Settings
    name: str
    partitions: int = 2

    def __post_init__(self) -> None:
        forever = {"retention.ms": "-1"}  # the records of the tests are old
        streams = [TopicSpec(topic, self.partitions, forever) for topic in (self.features, self.labels)]
        topics = [*streams, RETRAIN_TOPIC]
        Admin(self.broker.kafka).ensure_topics(topics)

    @property
    def features(self) -> str:
        return f"{self.name}.features"

    @property
    def labels(self) -> str:
        return f"{self.name}.labels"

    def registry(self) -> Registry:
        return Registry(self.broker.kafka, Shelf.of(self.settings), who="test")

    def push(self, folder: Path, weights: Sequence[float]) -> int:
        """Push a champion, or a further version: `yes` where the weighted sum of a, b and c is positive."""
        with self.registry() as registry:
            return registry.push(linear_bundle(folder, name=self.name, weights=weights).directory).version

    def champion(self) -> int:
        with self.registry() as registry:
            return registry.aliases(self.name)["champion"]

    def aliases(self) -> dict[str, int]:
        with self.registry() as registry:
            return registry.aliases(self.name)

    def send(self, rows: int, *, weights: Sequence[float] = (1, 1, 0), seed: int = 5) -> None:
        """Feature records, and labels that follow from other weights than the champion's may be."""
        values = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
        truth = values @ np.asarray(weights, np.float32) > 0
        self.send_features(values)
        self.send_labels(truth)

    def send_features(self, values: NDArray[np.float32]) -> None:
        count = len(values)
        numbers = np.arange(count)
        documents: list[bytes | None] = [orjson.dumps(dict(zip("abc", map(float, row), strict=True))) for row in values]
        with Writer(self.broker.kafka) as writer:
            partitions = (numbers % self.partitions).astype(np.int32)
            times = (STARTED_MS + numbers * 1000).astype(np.int64)
            writer.write(OutputBatch(self.features, partitions, times, [None] * count, documents))

    def send_labels(self, truth: NDArray[np.bool_]) -> None:
        self.send_truth(["yes" if yes else "no" for yes in truth.tolist()])

    def send_truth(self, truths: Sequence[Truth | None], *, revision: int = 0, first: int = 0) -> None:
        """Labels of consecutive records; None takes the label of its record back."""
        operations = {True: LabelOperation.RETRACT, False: LabelOperation.UPSERT}
        labels = [
            Label(self.event(first + row), truth, STARTED_MS, revision, operations[truth is None])
            for row, truth in enumerate(truths)
        ]
        send_labels(self.broker.kafka, self.name, labels)

    def event(self, row: int) -> str:
        """The id of the event whose record was sent in this place."""
        return str(Coordinates(self.features, row % self.partitions, row // self.partitions))

    def request(self, *, since: datetime | None = None) -> Requested:
        now = datetime.now(UTC)
        return request_retraining(self.broker.kafka, self.name, self.champion(), now=now, since=since)

    def answer(self, answer: LoopAnswer) -> None:
        """Write what an earlier trainer of the model would have written."""
        with self.log() as log:
            log.append([write_loop_record(answer)])

    def log(self) -> AppendLog:
        return AppendLog(self.broker.kafka, RETRAIN_TOPIC, key=self.name, appender=f"millrace-trainer-{self.name}")

    def training(self, name: str = "functions:fit", /, **changes: Mapping[str, object]) -> Training:
        document: dict[str, Any] = {
            "model": self.name,
            "source": {"topic": self.features},
            "labels": self.labels,
            **changes,
            "function": {
                "name": name,
                "folders": [str(Path(__file__).parent)],
                **changes.get("function", {}),
            },
        }
        return Training.parse(document, subject="the test")

    def records(self) -> list[Requested | LoopAnswer]:
        with Reader(self.broker.kafka, RETRAIN_TOPIC.name) as reader:
            return [
                read_loop_record(value, subject="the test")
                for batch in reader
                for key, value in zip(batch.keys, batch.values, strict=True)
                if key == self.name.encode()
            ]

    def steps(self, loop_id: str | None = None) -> list[str]:
        """What happened, in a word each."""
        return [record.type.split(".")[1] for record in self.records() if loop_id in {None, record.loop_id}]

    def completed(self) -> Completed:
        [found] = [record for record in self.records() if isinstance(record, Completed)]
        return found

    def wait_for(self, *steps: str, times: int = 1) -> None:
        """Wait until one of these steps was taken."""
        eventually(
            lambda: sum(step in steps for step in self.steps()) >= times,
            within=timedelta(seconds=60),
            what=f"{' or '.join(steps)} of {self.name}",
        )

    @contextmanager
    def running(self, training: Training | None = None) -> Iterator[None]:
        """A trainer at work; whatever ended it early is raised at the end."""
        trainer = Trainer(self.settings, self.broker.kafka, training or self.training(), clock=SystemClock())
        with at_work(trainer.run, name="trainer"):
            yield
