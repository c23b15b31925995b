"""A deployment with predictions and labels of the test's making, on the real broker, and an auditor in this process."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from millrace.client.labels import Label, send_labels
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates, OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.retraining import LoopAnswer, write_loop_record
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_auditor.app import Auditor

STARTED_MS = 1_600_000_200_000
"""Event time of the first event: the beginning of a minute."""

MINUTE_MS = 60_000
FEATURES = ("a", "b", "c")
HEALTHY = "23456789ab"
"""The characters of a numeric feature's bins; `c` is above the reference, `0` is null."""


@dataclass(frozen=True)
class Event:
    """One scored event. Its number is its second since the start, and its offset in its partition follows from it."""

    number: int
    score: float
    truth: str
    bins: str = "555"
    version: int = 1

    @property
    def at_ms(self) -> int:
        return STARTED_MS + self.number * 1000

    @property
    def predicted(self) -> str:
        return "yes" if self.score > 0.5 else "no"


def events(
    seed: int, start: int, count: int, *, errors: float = 0.1, bins: Sequence[str] = (HEALTHY,) * 3
) -> list[Event]:
    """Events of a model that errs so often; each feature's bins are drawn from the characters given for it."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(start, start + count):
        score, is_wrong = float(np.float32(rng.random())), rng.random() < errors
        truth = "yes" if (score > 0.5) != is_wrong else "no"
        made.append(
            Event(number, score, truth, "".join(characters[rng.integers(len(characters))] for characters in bins))
        )
    return made


class MakeAudited(Protocol):
    """The fixture `audited`: a deployment of its own for this test, with a model of features a, b and c."""

    def __call__(self, *, partitions: int = 1, model: str = "", **audit: Any) -> "Audited":  # noqa: ANN401
        """With these settings of its audit."""


@dataclass
class Audited:
    """One deployment that is audited, and what the outside sees of it."""

    broker: Broker
    settings: Settings
    name: str
    partitions: int = 1
    audit: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    sink: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.model or f"{self.name}-model"
        topics = (self.topic("features"), self.topic("predictions"), self.topic("labels"))
        forever = {"retention.ms": "-1"}  # the records of the tests are old
        Admin(self.broker.kafka).ensure_topics([TopicSpec(topic, self.partitions, forever) for topic in topics])

    def topic(self, noun: str) -> str:
        return f"{self.name}.{noun}"

    def push(self, folder: Path, *, rows: int = 20_000) -> None:
        with Registry(self.broker.kafka, Shelf.of(self.settings), who="test") as registry:
            registry.push(linear_bundle(folder, name=self.model, rows=rows).directory)

    def document(self) -> dict[str, Any]:
        audit = {"window_secs": 60, "label_horizon_secs": 60, "idle_after_secs": 3600, "min_labels": 50, **self.audit}
        return {
            "deployment": self.name,
            "source": {"topic": self.topic("features")},
            "model": self.model,
            "sink": self.sink,
            "audit": audit,
            "group": {"session_timeout_ms": 4000},
        }

    def write_document(self, folder: Path) -> Path:
        path = folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(self.document()), encoding="utf-8")
        return path

    def place(self, event: Event) -> Coordinates:
        return Coordinates(self.topic("features"), event.number % self.partitions, event.number // self.partitions)

    def predict(self, made: Sequence[Event], *, source: "Audited | None" = None) -> None:
        """Predictions in this order; of the records of another stream, where it is named."""
        values: list[bytes | None] = [self._prediction(event, (source or self).place(event)) for event in made]
        partitions = np.array([self.place(event).partition for event in made], np.int32)
        times = np.array([event.at_ms for event in made], np.int64)
        self._write(OutputBatch(self.topic("predictions"), partitions, times, [None] * len(made), values))

    def label(
        self,
        made: Sequence[Event],
        *,
        delay_ms: int = 1000,
        source: "Audited | None" = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        labels = [
            Label(
                str((source or self).place(event)),
                event.truth,
                event.at_ms + delay_ms,
                source=self.place(event),
                **changes,
            )
            for event in made
        ]
        send_labels(self.broker.kafka, self.name, labels)

    def records(self, topic: str) -> RecordBatch:
        with Reader(self.broker.kafka, topic) as reader:
            return RecordBatch.concat([RecordBatch.empty(topic), *reader])

    def documents(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(value or b"") for value in self.records(topic).values]

    def reports(self, stage: str | None = None) -> list[dict[str, Any]]:
        try:
            made = self.documents(self.topic("audits"))
        except RequestError:  # the auditor has not made the topic yet, or it has no leader yet
            return []
        return [each for each in made if stage is None or each["stage"] == stage]

    def wholes(self, stage: str) -> list[dict[str, Any]]:
        """Reports that are not about a segment."""
        return [each for each in self.reports(stage) if each["segment"] == "*"]

    def newest(self, stage: str) -> dict[str, bytes]:
        """The newest report of every window that reached the stage, as bytes, by the window's start."""
        values = self.records(self.topic("audits")).values
        reports = [(json.loads(value or b""), value or b"") for value in values]
        return {each["window"]["start"]: value for each, value in reports if each["stage"] == stage}

    def alerts(self) -> list[dict[str, Any]]:
        return [each for each in self.documents("millrace.alerts") if each["deployment"] == self.name]

    def requests(self) -> list[dict[str, Any]]:
        return [each for each in self.documents("millrace.retrain-requests") if each["model"] == self.model]

    def steps(self) -> list[str]:
        """What happened to retrain requests, in a word each."""
        return [each["type"].split(".")[1] for each in self.requests()]

    def answer(self, answer: LoopAnswer) -> None:
        """Write what the model's trainer would."""
        value = write_loop_record(answer)
        zero, now = np.zeros(1, np.int32), np.full(1, SystemClock().wall_ms(), np.int64)
        self._write(OutputBatch("millrace.retrain-requests", zero, now, [self.model.encode()], [value]))

    def wait_for(self, stage: str, count: int, *, within: timedelta = timedelta(seconds=120)) -> list[dict[str, Any]]:
        what = f"{count} reports of stage {stage} of {self.name}"
        eventually(lambda: len(self.reports(stage)) >= count, within=within, what=what)
        return self.reports(stage)

    @contextmanager
    def running(self, *, slot: int = 0) -> Iterator[None]:
        """An auditor at work; whatever ended it early is raised at the end."""
        deployment = Deployment.parse(self.document(), subject="the test")
        auditor = Auditor(self.settings, self.broker.kafka, deployment, slot=slot, clock=SystemClock())
        with at_work(auditor.run, name=f"auditor-{slot}"):
            yield

    def _prediction(self, event: Event, place: Coordinates) -> bytes:
        return json.dumps(
            {
                "event_id": str(place),
                "source": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
                "deployment": self.name,
                "model": self.model,
                "version": event.version,
                "digest": "sha256:" + "0" * 64,
                "transform": "identity",
                "outputs": {"label": event.predicted, "scores": {"no": 1 - event.score, "yes": event.score}},
                "bins": event.bins,
                "event_time": event.at_ms,
                "scored_at": event.at_ms,
            }
        ).encode()

    def _write(self, batch: OutputBatch) -> None:
        with Writer(self.broker.kafka) as writer:
            writer.write(batch)
            writer.flush()
