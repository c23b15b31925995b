"""A canary, a kill, a promotion and a rollback while real scorers answer 500 records a second: nothing lost, doubled
or mixed, and done within seconds."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from millrace.cli.app import run
from millrace.codec.reading import PredictionDocument, read_prediction
from millrace.codec.shadows import read_shadow
from millrace.core.columns import FeatureColumns
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.settings import Settings
from millrace.serving.bundle import Bundle
from millrace.serving.loading import load
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle, linear_signature
from millrace.testing.waiting import eventually
from tests.chaos.workers import Workers

RATE: Final = 500
TICK_SECS: Final = 0.02
PARTITIONS: Final = 4
WEIGHTS: Final = {1: (1.0, -1.0, 0.5), 2: (-2.0, 0.5, 1.0)}
GENEROUS: Final = timedelta(seconds=90)


@dataclass
class Load:
    """Sends records at a rate until it is told to stop; remembers what it sent."""

    broker: Broker
    topic: str
    sent: list[tuple[float, float, float]] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._send, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _send(self, stop: threading.Event) -> None:
        random, started = np.random.default_rng(9), time.monotonic()
        with Writer(self.broker.kafka) as writer:
            while not stop.wait(TICK_SECS):
                count = int((time.monotonic() - started) * RATE) - len(self.sent)
                rows = [(float(a), float(b), float(c)) for a, b, c in random.normal(size=(count, 3)).round(3)]
                first = len(self.sent)
                numbers = np.arange(first, first + count)
                values: list[bytes | None] = [json.dumps(dict(zip("abc", row, strict=True))).encode() for row in rows]
                keys: list[bytes | None] = [b"key-%d" % (number % 1000) for number in numbers.tolist()]
                now = np.full(count, SystemClock().wall_ms(), np.int64)
                writer.write(OutputBatch(self.topic, (numbers % PARTITIONS).astype(np.int32), now, keys, values))
                writer.flush()
                self.sent += rows

    def row(self, partition: int, offset: int) -> tuple[float, float, float]:
        return self.sent[offset * PARTITIONS + partition]


@dataclass
class World:
    broker: Broker
    name: str
    load: Load
    bundles: dict[int, Bundle]
    digests: dict[int, str]
    settings: Settings
    capsys: pytest.CaptureFixture[str]

    def records(self, noun: str) -> RecordBatch:
        topic = f"{self.name}.{noun}"
        with Reader(self.broker.kafka, topic) as reader:
            return RecordBatch.concat([RecordBatch.empty(topic), *reader])

    def count(self, noun: str) -> int:
        return len(self.records(noun)) if f"{self.name}.{noun}" in Admin(self.broker.kafka).topic_names() else 0

    def millrace(self, *words: str) -> tuple[dict[str, Any], float]:
        """A command's answer, and how many seconds it took."""
        self.capsys.readouterr()
        started = time.monotonic()
        code = run([*words, "--json", "--wait", str(GENEROUS.total_seconds()), "--bootstrap", self.broker.bootstrap])
        seconds, said = time.monotonic() - started, self.capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out), seconds


@pytest.fixture
def world(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    name = f"roll-{uuid.uuid4().hex[:8]}"
    topic = f"{name}.features"
    Admin(broker.kafka).ensure_topics([TopicSpec(topic, PARTITIONS)])
    settings = Settings(home=tmp_path / "home")
    bundles: dict[int, Bundle] = {}
    digests: dict[int, str] = {}
    with Registry(broker.kafka, Shelf.of(settings), who="test") as registry:
        for version, weights in WEIGHTS.items():
            bundles[version] = linear_bundle(tmp_path / str(version), name=name, weights=weights)
            entry = registry.push(bundles[version].directory)
            digests[entry.version] = entry.digest
    return World(broker, name, Load(broker, topic), bundles, digests, settings, capsys)


@pytest.mark.timeout(300)
def test_a_canary_a_kill_a_promotion_and_a_rollback_under_load(world: World, tmp_path: Path) -> None:
    document = tmp_path / "deployment.json"
    document.write_text(
        json.dumps(
            {
                "deployment": world.name,
                "source": {"topic": world.load.topic},
                "model": world.name,
                "rollout": {"mode": "canary", "share": 0.3},
                "group": {"session_timeout_ms": 6000},
            }
        )
    )
    environment = {"MILLRACE_KAFKA__BOOTSTRAP": world.broker.bootstrap, "MILLRACE_HOME": str(world.settings.home)}
    with Workers(document, environment, tmp_path / "scorers.log", count=2) as workers, world.load.flowing():
        eventually(lambda: world.count("predictions") >= RATE, within=GENEROUS, what="predictions")
        with Registry(world.broker.kafka, Shelf.of(world.settings), who="test") as registry:
            registry.set_alias("challenger", f"{world.name}/2")
        eventually(lambda: world.count("shadows") >= RATE // 4, within=GENEROUS, what="the canary")
        workers.kill(0)
        workers.start(0)
        seen = world.count("shadows")
        eventually(lambda: world.count("shadows") >= seen + RATE, within=GENEROUS, what="the canary after the kill")
        promoted, promotion_secs = world.millrace("model", "promote", world.name)
        check_answering(world, promoted, 2)
        back, rollback_secs = world.millrace("model", "rollback", world.name)
        check_answering(world, back, 1)
    with Workers(document, environment, tmp_path / "scorers.log", count=1) as workers:  # nobody is left behind
        eventually(lambda: world.count("predictions") >= len(world.load.sent), within=GENEROUS, what="all predictions")
        assert workers.stop() == [0]
    with world.capsys.disabled():
        print(f"\n  at {RATE} records/s: promoted in {promotion_secs:.1f} s, rolled back in {rollback_secs:.1f} s")  # noqa: T201
    check_predictions(world)


def check_answering(world: World, said: dict[str, Any], version: int) -> None:
    assert said["version"] == version
    [answering] = said["answering"]
    assert answering["deployment"] == world.name
    assert answering["behind"] == []
    assert answering["first_offsets"]


def check_predictions(world: World) -> None:
    """Each record once and in order, by a version that the handovers name, with that version's very answer."""
    found = [read_prediction(value) for value in world.records("predictions").values]
    by_partition: dict[int, list[PredictionDocument]] = {number: [] for number in range(PARTITIONS)}
    for prediction in found:
        by_partition[prediction["source"]["partition"]].append(prediction)
    for number, predictions in by_partition.items():
        assert [each["source"]["offset"] for each in predictions] == list(range(len(predictions)))
        check_versions(handovers(world, number), predictions)
    assert len(found) == len(world.load.sent)
    check_answers(world, found)
    pairs = [read_shadow(value) for value in world.records("shadows").values]
    answered = {each["event_id"]: each for each in found}
    assert len({each["event_id"] for each in pairs}) == len(pairs)
    for each in pairs:
        assert (answered[each["event_id"]]["version"], each["version"]) == (2, 1)
        assert answered[each["event_id"]]["outputs"] == each["beside"]["outputs"]


def handovers(world: World, partition: int) -> list[dict[str, Any]]:
    documents = [json.loads(value or b"") for value in world.records("handovers").values]
    return [each for each in documents if each["partition"] == partition]


def check_versions(begun: list[dict[str, Any]], predictions: list[PredictionDocument]) -> None:
    """From each handover to the next its champion answers; a canary answers beside it, and nobody else does."""
    offsets = [each["first_offset"] for each in begun]
    assert offsets[0] == 0
    assert offsets == sorted(set(offsets))
    assert all(
        earlier["champion"] != later["champion"] or earlier["mode"] != later["mode"]
        for earlier, later in pairwise(begun)
    )
    for each, end in zip(begun, [*offsets[1:], len(predictions)], strict=True):
        expected = {each["champion"]["version"]}
        if each["mode"] == "canary":
            expected.add(each["challenger"]["version"])
        assert {prediction["version"] for prediction in predictions[each["first_offset"] : end]} <= expected
        if each["mode"] == "none":
            assert predictions[each["first_offset"]]["version"] == each["champion"]["version"]


def check_answers(world: World, found: list[PredictionDocument]) -> None:
    for version, bundle in world.bundles.items():
        mine = [prediction for prediction in found if prediction["version"] == version]
        assert mine
        assert {prediction["digest"] for prediction in mine} == {world.digests[version]}
        rows = np.array(
            [world.load.row(each["source"]["partition"], each["source"]["offset"]) for each in mine], np.float32
        )
        scores = load(bundle).engine.infer(FeatureColumns(linear_signature(), (rows,))).outputs.scores[:, 1]
        said = np.array([prediction["outputs"]["scores"]["yes"] for prediction in mine], np.float32)
        np.testing.assert_array_equal(said, scores)
