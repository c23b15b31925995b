"""SEA concepts (Street and Kim, 2001) through the whole system: features, scorer, predictions, auditor, trainer.

Three features, uniform between 0 and 10; the truth is whether the first two add up to at most a threshold, and the
threshold jumps. A model that is frozen at 8 is then right with the probability `right(threshold)`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from audit_stream import STARTED_MS, Audited
from numpy.typing import NDArray
from scorer_stream import Stream
from sklearn.linear_model import LogisticRegression
from trainer_stream import Loop

from millrace.client.labels import Label, send_labels
from millrace.core.records import Coordinates, OutputBatch
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.export import Origin, export
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker

FEATURES: Final = ("a", "b", "c")
FROZEN: Final = 8.0
_PARTITIONS: Final = 2


def right(threshold: float) -> float:
    """How often the model that is frozen at 8 is right in this concept."""
    return 1.0 - abs(_share(threshold) - _share(FROZEN))


def _share(threshold: float) -> float:
    return threshold**2 / 200  # of the square of side 10 below the line; thresholds are at most 10


@dataclass
class Sea:
    """One deployment on a SEA stream; an event a second.

    Attributes:
        window_events: Events of one window of the audit.
        audit: Further settings of the audit.
        sent: Seconds of event time so far.
        written: Records so far.
    """

    broker: Broker
    settings: Settings
    name: str
    window_events: int
    audit: dict[str, Any] = field(default_factory=dict)
    sent: int = 0
    written: int = 0

    def __post_init__(self) -> None:
        audit = {
            "window_secs": self.window_events,
            "label_horizon_secs": 10,
            "out_of_orderness_secs": 0,
            "min_labels": 100,
            "cooldown_secs": 0,
            **self.audit,
        }
        self.audited = Audited(self.broker, self.settings, self.name, _PARTITIONS, audit, self.name)
        self.scored = Stream(self.broker, self.settings, self.name, _PARTITIONS)
        self.scored.model = self.name
        self.loop = Loop(self.broker, self.settings, self.name, _PARTITIONS)

    @property
    def start_ms(self) -> int:
        """Event time of the first event: the beginning of a window."""
        return STARTED_MS - STARTED_MS % (1000 * self.window_events)

    def push(self, folder: Path) -> None:
        """The frozen model: the rule itself, exported with a reference and its labels."""
        values = _features(0, 30_000)
        labels = _truth(values, FROZEN)
        model = LogisticRegression().fit(values[:100], labels[:100])
        model.coef_, model.intercept_ = np.array([[-50.0, -50.0, 0.0]]), np.array([50.0 * FROZEN])
        origin = Origin(self.name, datetime(2026, 1, 1, tzinfo=UTC))
        bundle = export(
            model, dict(zip(FEATURES, values.T, strict=True)), origin=origin, directory=folder, labels=labels
        )
        with Registry(self.broker.kafka, Shelf.of(self.settings), who="test") as registry:
            registry.push(bundle.directory)

    def send(self, thresholds: Sequence[float]) -> None:
        """A window of features and labels for each threshold; labels first: event time goes on with features."""
        for threshold in thresholds:
            values = _features(1 + self.sent, self.window_events)
            times = self.start_ms + 1000 * np.arange(self.sent, self.sent + self.window_events)
            labels = [
                Label(str(place), said, at + 1000, source=place)
                for place, said, at in zip(
                    self._places(len(values)), _truth(values, threshold), times.tolist(), strict=True
                )
            ]
            send_labels(self.broker.kafka, self.name, labels)
            self._write(times, values)
            self.sent += self.window_events

    def let_time_pass(self) -> None:
        """An event in every partition, so late that all windows before are mature; nothing else is in its window."""
        at_ms = self.start_ms + 1000 * (self.sent + self.window_events)
        self._write(np.full(_PARTITIONS, at_ms), _features(self.sent, _PARTITIONS))
        self.sent += 2 * self.window_events

    @contextmanager
    def running(self, training: str | None = None) -> Iterator[None]:
        """Scorer and auditor at work, and a trainer with this function where one is named."""
        intake, data = {"cooldown_secs": 0, "max_per_day": 1000}, {"since": "degraded"}
        with ExitStack() as stack:
            stack.enter_context(self.scored.running())
            stack.enter_context(self.audited.running())
            if training is not None:
                stack.enter_context(self.loop.running(self.loop.training(training, intake=intake, data=data)))
            yield

    def _places(self, count: int) -> list[Coordinates]:
        """Where the next records will lie: in the partitions in turn."""
        numbers, topic = range(self.written, self.written + count), self.audited.topic("features")
        return [Coordinates(topic, number % _PARTITIONS, number // _PARTITIONS) for number in numbers]

    def _write(self, times_ms: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        partitions = np.array([place.partition for place in self._places(len(values))], np.int32)
        rows: list[bytes | None] = [orjson.dumps(dict(zip(FEATURES, row, strict=True))) for row in values.tolist()]
        batch = OutputBatch(self.audited.topic("features"), partitions, times_ms, [None] * len(rows), rows)
        with Writer(self.broker.kafka) as writer:
            writer.write(batch)
            writer.flush()
        self.written += len(values)


def _features(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 10, (count, 3)).astype(np.float32)


def _truth(values: NDArray[np.float32], threshold: float) -> list[str]:
    said: list[str] = np.where(values[:, 0].astype(np.float64) + values[:, 1] <= threshold, "yes", "no").tolist()
    return said
