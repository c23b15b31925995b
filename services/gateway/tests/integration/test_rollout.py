"""Versions that change under online load: who answers, what is written beside it, and that nobody notices."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gateway_stage import GatewayStage
from scorer_stream import MakeStream, Stream

from millrace.codec.reading import read_prediction
from millrace.codec.shadows import read_shadow
from millrace.core.columns import FeatureColumns
from millrace.core.rollout import RolloutMode, draw, salt_of
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import CHALLENGER, CHAMPION
from millrace.serving.loading import load
from millrace.testing.models import linear_signature
from millrace.testing.records import record_batch
from millrace.testing.waiting import eventually

CONNECTIONS = 64
SHARE = 0.3
ROWS = np.random.default_rng(3).normal(size=(100, 2, 3)).astype(np.float32)
"""By key: the two rows that are asked about it."""


def alias(s: Stream, name: str, version: int) -> None:
    with s.registry() as registry:
        registry.set_alias(name, f"{s.model}/{version}")


def scores_of(answer: Mapping[str, Any]) -> list[float]:
    """The scores in an answer, as the model made them."""
    data = next(each["data"] for each in answer["outputs"] if each["datatype"] == "FP32")
    scores: list[float] = np.array(data, np.float32).tolist()
    return scores


@dataclass
class Crowd:
    """Clients that ask without a pause, each on a connection of its own."""

    stage: GatewayStage
    model: str
    answers: list[tuple[int, str, int, list[float]]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def versions(self, last: int) -> set[int]:
        """The versions of the last answers, once there are so many more."""
        count = len(self.answers)
        eventually(
            lambda: len(self.answers) >= count + last or bool(self.refusals),
            within=timedelta(seconds=60),
            what="answers",
        )
        return {version for _, _, version, _ in self.answers[-last:]}

    async def ask(self, client: httpx.AsyncClient, enough: asyncio.Event) -> None:
        number = 0
        while not enough.is_set():
            key = number % len(ROWS)
            tensor = {"name": "features", "shape": [2, 3], "datatype": "FP32", "data": ROWS[key].tolist()}
            body = {"inputs": [tensor], "parameters": {"key": f"key-{key}"}}
            answer = await client.post(f"/v2/models/{self.model}/infer", json=body)
            if answer.status_code != httpx.codes.OK:
                self.refusals.append(answer.text)
                return
            found = answer.json()
            self.answers.append((key, found["id"], int(found["model_version"]), scores_of(found)))
            number += 1


@contextmanager
def crowd_of(stage: GatewayStage, s: Stream) -> Iterator[Crowd]:
    """The clients at work; what they are refused is an error."""
    crowd = Crowd(stage, s.name)
    loop, enough = asyncio.new_event_loop(), asyncio.Event()

    async def everybody() -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncClient(base_url=stage.url, limits=limits, timeout=30) as client:
            await asyncio.gather(*(crowd.ask(client, enough) for _ in range(CONNECTIONS)))

    with ThreadPoolExecutor(1) as threads, closing(loop):
        work = threads.submit(loop.run_until_complete, everybody())
        try:
            yield crowd
        finally:
            loop.call_soon_threadsafe(enough.set)
            work.result()
    assert crowd.refusals == []


@pytest.fixture
def two_versions(stream: MakeStream, tmp_path: Path) -> tuple[Stream, dict[int, list[list[float]]]]:
    """A stream whose model has two versions, and what each answers, by key."""
    s = stream(partitions=3)
    weights = {1: (1, -1, 0.5), 2: (2, 2, 2)}
    s.push(tmp_path / "second", weights=weights[2])
    expected = {}
    for version in weights:
        with s.registry() as registry:
            _, bundle = registry.open(f"{s.model}/{version}")
        model = load(bundle, version=version)
        expected[version] = [
            model.engine.infer(FeatureColumns(linear_signature(), (rows,))).outputs.scores.ravel().tolist()
            for rows in ROWS
        ]
        model.close()
    return s, expected


def with_rollout(s: Stream, mode: RolloutMode) -> Deployment:
    share = {"share": SHARE} if mode is RolloutMode.CANARY else {}
    return s.deployment(rollout={"mode": mode.value, **share}, slo={"latency_ms": 20_000})


def drawn_keys(s: Stream) -> set[int]:
    """The keys that a scorer would let version 2 answer."""
    keys = [b"key-%d" % key for key in range(len(ROWS))]
    records = record_batch([b""] * len(keys), keys=keys)
    return set(np.flatnonzero(draw(records, share=SHARE, salt=salt_of(s.name, 2))).tolist())


def test_s47_versions_change_under_load_without_an_error_and_every_answer_is_of_the_version_that_it_names(
    stage: GatewayStage, two_versions: tuple[Stream, dict[int, list[list[float]]]]
) -> None:
    s, expected = two_versions
    with stage.running(with_rollout(s, RolloutMode.CANARY)), crowd_of(stage, s) as crowd:
        assert crowd.versions(200) == {1}
        alias(s, CHALLENGER, 2)
        eventually(lambda: 2 in crowd.versions(200), within=timedelta(seconds=120), what="a canary")
        begun = len(crowd.answers)
        assert crowd.versions(500) == {1, 2}
        canary = crowd.answers[begun:]
        alias(s, CHAMPION, 2)  # promoted
        eventually(lambda: crowd.versions(200) == {2}, within=timedelta(seconds=120), what="a promotion")
        alias(s, CHALLENGER, 1)
        alias(s, CHAMPION, 1)  # and back
        eventually(lambda: crowd.versions(200) == {1}, within=timedelta(seconds=120), what="a way back")
    assert {key for key, _, version, _ in canary if version == 2} <= drawn_keys(s)
    assert {key for key, _, version, _ in canary if version == 1}.isdisjoint(drawn_keys(s))
    for key, _, version, scores in crowd.answers:
        assert scores == expected[version][key]
    logged = {each["event_id"]: each for each in map(read_prediction, s.records(f"{s.name}.predictions").values)}
    for _, event_id, version, _ in crowd.answers:
        assert (logged[event_id]["version"], logged[f"{event_id}.1"]["version"]) == (version, version)
    beside = {each["event_id"]: each for each in map(read_shadow, s.records(f"{s.name}.shadows").values)}
    assert beside
    for event_id, shadow in beside.items():
        assert {shadow["version"], shadow["beside"]["version"]} == {1, 2}
        assert logged[event_id]["outputs"] == shadow["beside"]["outputs"]
    answered = {event_id: version for _, event_id, version, _ in canary}
    assert {event_id for event_id, version in answered.items() if version == 2} <= beside.keys()


def test_a_shadow_answers_nobody_and_stands_beside_every_answer(
    stage: GatewayStage, two_versions: tuple[Stream, dict[int, list[list[float]]]]
) -> None:
    s, _ = two_versions
    alias(s, CHALLENGER, 2)
    with stage.running(with_rollout(s, RolloutMode.SHADOW)), crowd_of(stage, s) as crowd:
        assert crowd.versions(300) == {1}
    logged = {each["event_id"]: each for each in map(read_prediction, s.records(f"{s.name}.predictions").values)}
    beside = {each["event_id"]: each for each in map(read_shadow, s.records(f"{s.name}.shadows").values)}
    assert len(logged) == 2 * len(crowd.answers)
    assert beside.keys() == logged.keys()
    assert {(each["version"], each["beside"]["version"]) for each in beside.values()} == {(2, 1)}


def test_who_names_a_version_is_answered_by_it(
    stage: GatewayStage, two_versions: tuple[Stream, dict[int, list[list[float]]]]
) -> None:
    s, expected = two_versions
    alias(s, CHALLENGER, 2)
    tensor = {"name": "features", "shape": [2, 3], "datatype": "FP32", "data": ROWS[0].tolist()}
    with stage.running(with_rollout(s, RolloutMode.CANARY)) as client:
        for path, version in ((f"{s.name}/versions/2", 2), (f"{s.name}/versions/1", 1), (f"{s.model}@challenger", 2)):
            for _ in range(3):
                answer = client.post(f"/v2/models/{path}/infer", json={"inputs": [tensor]}).json()
                assert answer["model_version"] == str(version)
                assert scores_of(answer) == expected[version][0]
