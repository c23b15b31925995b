"""A topic of predictions without a scorer: documents written by hand, plainly or in transactions."""

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.writing import NOW, Writer
from millrace.testing.broker import Broker


def prediction(number: int, *, version: int = 1, score: float = 0.75, padding: int = 0) -> dict[str, Any]:
    """A prediction that validates; `event_id` is the number. A field of a later version has so many characters."""
    return {
        "event_id": str(number),
        "source": {"topic": "rain.features", "partition": 0, "offset": number},
        "deployment": "rain",
        "model": "weather",
        "version": version,
        "digest": "sha256:" + "0" * 64,
        "transform": "identity",
        "outputs": {"label": "yes", "scores": {"no": 1 - score, "yes": score}},
        "bins": "",
        "event_time": 1_700_000_000_000,
        "scored_at": 1_700_000_000_001,
        "padding": "x" * padding,
    }


@dataclass
class PredictionTopic:
    """One deployment's predictions, as the outside writes them. Numbers count up over the whole topic."""

    broker: Broker
    partitions: int = 2
    deployment: str = field(default_factory=lambda: f"d-{uuid.uuid4().hex[:10]}")
    config: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Admin(self.broker.kafka).ensure_topics([TopicSpec(self.topic, self.partitions, self.config)])
        self._numbers = itertools.count()

    @property
    def topic(self) -> str:
        return f"{self.deployment}.predictions"

    @property
    def path(self) -> str:
        return f"/v1/deployments/{self.deployment}/predictions"

    def write(self, count: int, *, version: int = 1, score: float = 0.75, padding: int = 0) -> list[int]:
        """Write so many predictions over the partitions in turn; their numbers, which are their event ids."""
        numbers = list(itertools.islice(self._numbers, count))
        self.write_values(
            [orjson.dumps(prediction(number, version=version, score=score, padding=padding)) for number in numbers],
            numbers,
        )
        return numbers

    def write_values(self, values: Sequence[bytes], numbers: Sequence[int] | None = None) -> None:
        places = np.array(numbers if numbers is not None else range(len(values)), np.int32) % self.partitions
        keys = [b"k%d" % (place % 2) for place in places]
        with Writer(self.broker.kafka) as writer:
            writer.write(OutputBatch(self.topic, places, np.full(len(values), NOW, np.int64), keys, values))
