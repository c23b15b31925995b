"""A scorer in this process, on the real broker: as the composition root makes it, but for signals."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from millrace.codec.dead_letters import DeadLetter, read_dead_letter
from millrace.codec.reading import PredictionDocument, read_prediction
from millrace.core.errors import MillraceError, RequestError
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.lifecycle import Shutdown
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_scorer.app import Scorer

KEPT = {"retention.ms": "-1"}
"""The broker deletes what is older than a topic keeps, now and then, whoever still wants to read it."""


class MakeStream(Protocol):
    """The fixture `stream`: makes a stream whose model, `linear_model` of features a, b and c, is the champion."""

    def __call__(self, *, partitions: int = 1) -> "Stream":
        """A stream of its own for this test."""


@dataclass
class Stream:
    """One deployment with a source topic and a model of its own, and what the outside sees of it."""

    broker: Broker
    settings: Settings
    name: str
    partitions: int = 1
    model: str = field(init=False)

    def __post_init__(self) -> None:
        self.model = f"{self.name}-model"
        Admin(self.broker.kafka).ensure_topics([TopicSpec(self.source, self.partitions, KEPT)])

    @property
    def source(self) -> str:
        return f"{self.name}.features"

    def registry(self) -> Registry:
        return Registry(self.broker.kafka, Shelf.of(self.settings), who="test")

    def push(self, folder: Path, *, weights: Sequence[float] = (1, -1, 0.5), name: str | None = None) -> int:
        with self.registry() as registry:
            bundle = linear_bundle(folder, name=name or self.model, weights=weights)
            return registry.push(bundle.directory).version

    def deployment(self, *, source: Mapping[str, object] | None = None, **changes: object) -> Deployment:
        document: dict[str, Any] = {
            "deployment": self.name,
            "source": {"topic": self.source, **(source or {})},
            "model": self.model,
            "slo": {"latency_ms": 1000},
            **changes,
        }
        return Deployment.parse(document, subject="the test")

    def send(
        self,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Headers | None] | None = None,
        at_ms: int | None = None,
    ) -> None:
        count = len(values)
        partitions = np.arange(count, dtype=np.int32) % self.partitions
        now = SystemClock().wall_ms() if at_ms is None else at_ms
        with Writer(self.broker.kafka) as writer:
            writer.write(
                OutputBatch(
                    self.source, partitions, np.full(count, now, np.int64), keys or [None] * count, values, headers
                )
            )
            writer.flush()

    def records(self, topic: str) -> RecordBatch:
        with Reader(self.broker.kafka, topic) as reader:
            batches = list(reader)
        return RecordBatch.concat(batches) if batches else RecordBatch.empty(topic)

    def predictions(self) -> list[PredictionDocument]:
        return [read_prediction(value) for value in self.records(f"{self.name}.predictions").values]

    def dead_letters(self) -> list[DeadLetter]:
        return [read_dead_letter(headers) for headers in self.records(f"{self.name}.dlq").headers]

    def wait_for(self, count: int, topic: str | None = None) -> None:
        name = topic or f"{self.name}.predictions"

        def is_there() -> bool:
            try:
                return len(self.records(name)) >= count
            except RequestError:  # the scorer has not made the topic yet
                return False

        eventually(is_there, within=timedelta(seconds=60), what=f"{count} records in {name}")

    @contextmanager
    def running(self, deployment: Deployment | None = None, *, slot: int = 0) -> Iterator[None]:
        """A scorer at work; whatever ended it early is raised at the end."""
        chosen = deployment or self.deployment()
        scorer = Scorer(self.settings, self.broker.kafka, chosen, slot=slot, clock=SystemClock())
        with at_work(scorer.run, name=f"scorer-{slot}"):
            yield

    def refuses(self, deployment: Deployment) -> MillraceError:
        """The error with which a scorer of this deployment ends at its start."""
        clock = SystemClock()
        scorer = Scorer(self.settings, self.broker.kafka, deployment, slot=0, clock=clock)
        with pytest.raises(MillraceError) as caught:
            scorer.run(Shutdown(clock=clock))
        return caught.value
