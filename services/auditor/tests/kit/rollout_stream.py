"""A deployment with a rollout of the test's making: what two versions said, the truth, and an auditor."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from audit_stream import STARTED_MS, Audited

from millrace.client.labels import Label, send_labels
from millrace.core.records import Coordinates, OutputBatch
from millrace.core.rollout import RolloutMode
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.telemetry.auditor import Role
from millrace.testing.models import linear_bundle
from millrace.testing.running import at_work
from millrace_auditor.app import Auditor

FORGIVING = {"alpha": 0.01, "min_pairs": 60, "max_pairs": 600}


@dataclass(frozen=True)
class Paired:
    """One event that version 1, the champion, and version 2, the challenger, have scored, a second after the last."""

    number: int
    champion: str
    challenger: str
    truth: str

    @property
    def at_ms(self) -> int:
        return STARTED_MS + self.number * 1000


def paired(seed: int, start: int, count: int, *, champion: float, challenger: float) -> list[Paired]:
    """Events on which the versions err so often, independently."""
    rng = np.random.default_rng(seed)
    other = {"yes": "no", "no": "yes"}
    made = []
    for number in range(start, start + count):
        truth = "yes" if rng.random() < 0.5 else "no"
        said = [other[truth] if rng.random() < errs else truth for errs in (champion, challenger)]
        made.append(Paired(number, said[0], said[1], truth))
    return made


@dataclass
class Tried(Audited):
    """A deployment whose challenger is tried."""

    mode: RolloutMode = RolloutMode.SHADOW
    rollout: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        Admin(self.broker.kafka).ensure_topics(
            [TopicSpec(self.topic("shadows"), self.partitions, {"retention.ms": "-1"})]
        )

    def push_both(self, folder: Path) -> None:
        """Version 1 is the champion, version 2 the challenger."""
        with self.registry() as registry:
            for number in (1, 2):
                registry.push(linear_bundle(folder / str(number), name=self.model, weights=(number, 1, 1)).directory)
            registry.set_alias("challenger", f"{self.model}/2")

    def registry(self) -> Registry:
        return Registry(self.broker.kafka, Shelf.of(self.settings), who="test")

    def aliases(self) -> dict[str, int]:
        with self.registry() as registry:
            return registry.aliases(self.model)

    def document(self) -> dict[str, Any]:
        return {**super().document(), "rollout": {"mode": self.mode.value, **FORGIVING, **self.rollout}}

    def place_of(self, event: Paired) -> Coordinates:
        return Coordinates(self.topic("features"), event.number % self.partitions, event.number // self.partitions)

    def shadow(self, made: Sequence[Paired]) -> None:
        """Shadow records, as the scorer writes them in this mode."""
        values: list[bytes | None] = [self._shadow(event) for event in made]
        partitions = np.array([self.place_of(event).partition for event in made], np.int32)
        times = np.array([event.at_ms for event in made], np.int64)
        self._write(OutputBatch(self.topic("shadows"), partitions, times, [None] * len(made), values))

    def tell(self, made: Sequence[Paired]) -> None:
        """The truth."""
        places = [self.place_of(event) for event in made]
        labels = [
            Label(str(place), event.truth, event.at_ms + 1000, source=place)
            for event, place in zip(made, places, strict=True)
        ]
        send_labels(self.broker.kafka, self.name, labels)

    def let_time_pass(self, after: int) -> None:
        """Event time goes on until everything before is mature on every partition."""
        self.shadow([Paired(after + 300 + partition, "yes", "yes", "yes") for partition in range(self.partitions)])

    @contextmanager
    def running(self, *, slot: int = 0) -> Iterator[None]:
        """An auditor of the role alone; whatever ended it early is raised at the end."""
        deployment = Deployment.parse(self.document(), subject="the test")
        roles, clock = (Role.ROLLOUT,), SystemClock()
        auditor = Auditor(self.settings, self.broker.kafka, deployment, slot=slot, clock=clock, roles=roles)
        with at_work(auditor.run, name=f"auditor-{slot}"):
            yield

    def put(self, noun: str, key: bytes, value: bytes | None) -> None:
        """One record into the only partition of a topic."""
        zero, now = np.zeros(1, np.int32), np.full(1, SystemClock().wall_ms(), np.int64)
        self._write(OutputBatch(self.topic(noun), zero, now, [key], [value]))

    def decisions(self) -> list[dict[str, Any]]:
        if self.topic("rollouts") not in Admin(self.broker.kafka).topic_names():
            return []
        return [each for each in self.documents(self.topic("rollouts")) if each["type"] == "rollout.decision.v1"]

    def results(self) -> list[str]:
        return [each["result"] for each in self.decisions()]

    def _shadow(self, event: Paired) -> bytes:
        said = {1: event.champion, 2: event.challenger}
        silent = 2 if self.mode is RolloutMode.SHADOW else 1
        place = self.place_of(event)
        return json.dumps(
            {
                "event_id": str(place),
                "source": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
                "deployment": self.name,
                "model": self.model,
                "version": silent,
                "digest": "sha256:" + "0" * 64,
                "transform": "identity",
                "outputs": _outputs(said[silent]),
                "bins": "555",
                "event_time": event.at_ms,
                "scored_at": event.at_ms,
                "rollout": self.mode.value,
                "beside": {
                    "version": 3 - silent,
                    "digest": "sha256:" + "1" * 64,
                    "outputs": _outputs(said[3 - silent]),
                },
            }
        ).encode()


def _outputs(label: str) -> dict[str, Any]:
    score = 0.75 if label == "yes" else 0.25
    return {"label": label, "scores": {"no": 1 - score, "yes": score}}
