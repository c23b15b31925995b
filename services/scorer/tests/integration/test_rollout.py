"""A rollout on the real broker: who answers, what is written beside it, and from which offset on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scorer_stream import MakeStream, Stream

from millrace.codec.reading import PredictionDocument
from millrace.codec.shadows import ShadowDocument, read_shadow
from millrace.core.columns import FeatureColumns
from millrace.core.rollout import RolloutMode
from millrace.serving.catalogue import CHALLENGER, CHAMPION
from millrace.testing.models import bundle_of, linear_model, linear_signature

ROLLOUTS: dict[RolloutMode, dict[str, Any]] = {
    RolloutMode.SHADOW: {"mode": "shadow"},
    RolloutMode.CANARY: {"mode": "canary", "share": 0.3},
}


@contextmanager
def at_work(s: Stream, mode: RolloutMode) -> Iterator[None]:
    with s.running(s.deployment(batch={"max_records": 50}, rollout=ROLLOUTS[mode])):
        yield


def send(s: Stream, first: int, count: int) -> None:
    numbers = range(first, first + count)
    values = [json.dumps({"a": number % 7 - 3, "b": 0.5, "c": 1}).encode() for number in numbers]
    s.send(values, keys=[b"key-%d" % number for number in numbers])


def alias(s: Stream, name: str, version: int) -> None:
    with s.registry() as registry:
        registry.set_alias(name, f"{s.model}/{version}")


def shadows(s: Stream) -> list[ShadowDocument]:
    return [read_shadow(value) for value in s.records(f"{s.name}.shadows").values]


def handovers(s: Stream) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for value in s.records(f"{s.name}.handovers").values]


def check_against_handovers(s: Stream) -> None:
    """Every prediction is of a version that the handovers name for its offset, and each handover begins a change."""
    begun: dict[int, list[dict[str, Any]]] = {}
    for document in handovers(s):
        begun.setdefault(document["partition"], []).append(document)
    for partition, documents in begun.items():
        offsets = [document["first_offset"] for document in documents]
        assert offsets == sorted(set(offsets))
        for prediction in s.predictions():
            if prediction["source"]["partition"] == partition:
                assert prediction["version"] in answering(documents, prediction)


def answering(documents: list[dict[str, Any]], prediction: PredictionDocument) -> set[int]:
    now = [each for each in documents if each["first_offset"] <= prediction["source"]["offset"]][-1]
    return {now["champion"]["version"]} | ({now["challenger"]["version"]} if now["mode"] == "canary" else set())


def wait_for_version(s: Stream, version: int, sent: int) -> int:
    """Send until this version has answered; returns how many records have been sent."""
    while all(prediction["version"] != version for prediction in s.predictions()[-200:]):
        send(s, sent, 100)
        sent += 100
        s.wait_for(sent)
    return sent


@pytest.mark.parametrize("mode", list(ROLLOUTS))
def test_a_rollout_from_its_first_to_its_last_record(stream: MakeStream, tmp_path: Path, mode: RolloutMode) -> None:
    s = stream(partitions=2)
    s.push(tmp_path / "second", weights=(2, 2, 2))
    with at_work(s, mode):
        send(s, 0, 200)
        s.wait_for(200)
        alias(s, CHALLENGER, 2)
        sent = 200
        while not shadows(s):
            send(s, sent, 100)
            sent += 100
            s.wait_for(sent)
        alias(s, CHAMPION, 2)
        sent = wait_for_version(s, 2, sent) if mode is RolloutMode.SHADOW else sent
        while handovers(s)[-1]["champion"]["version"] != 2:
            send(s, sent, 100)
            sent += 100
            s.wait_for(sent)
    found = s.predictions()
    assert sorted((p["source"]["partition"], p["source"]["offset"]) for p in found) == [
        (partition, offset) for partition in range(2) for offset in range(sent // 2)
    ]
    check_against_handovers(s)
    beside = shadows(s)
    pairs = {each["event_id"]: (each["version"], each["beside"]["version"]) for each in beside}
    assert len(pairs) == len(beside)
    assert set(pairs.values()) == {(2, 1) if mode is RolloutMode.SHADOW else (1, 2)}
    by_event = {prediction["event_id"]: prediction for prediction in found}
    for each in beside:
        assert by_event[each["event_id"]]["version"] == each["beside"]["version"]
        assert by_event[each["event_id"]]["outputs"] == each["beside"]["outputs"]


def test_a_worker_that_comes_back_writes_no_handover_twice(stream: MakeStream) -> None:
    s = stream(partitions=2)
    for first in (0, 100):
        with s.running():
            send(s, first, 100)
            s.wait_for(first + 100)
    assert sorted((each["partition"], each["first_offset"]) for each in handovers(s)) == [(0, 0), (1, 0)]


def test_a_challenger_that_is_named_at_the_start_is_tried_from_the_first_record_on(
    stream: MakeStream, tmp_path: Path
) -> None:
    s = stream()
    s.push(tmp_path / "second", weights=(2, 2, 2))
    deployment = s.deployment(rollout={"mode": "shadow", "challenger": f"{s.model}/2"})
    with s.running(deployment):
        send(s, 0, 50)
        s.wait_for(50)
        s.wait_for(50, f"{s.name}.shadows")
    assert [each["champion"]["version"] for each in handovers(s)] == [1]
    assert [each.get("challenger", {}).get("version") for each in handovers(s)] == [2]


def test_a_challenger_with_other_classes_is_not_tried_and_the_champion_goes_on(
    stream: MakeStream, tmp_path: Path
) -> None:
    s = stream()
    signature = replace(linear_signature(), classes=("ja", "nein"))
    columns = FeatureColumns(signature, (np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32),))
    model = linear_model(np.ones(3, np.float32)).SerializeToString()
    with s.registry() as registry:
        registry.push(bundle_of(tmp_path / "other", model, columns, name=s.model).directory)
    alias(s, CHALLENGER, 2)
    with at_work(s, RolloutMode.SHADOW):
        send(s, 0, 50)
        s.wait_for(50)
    assert {prediction["version"] for prediction in s.predictions()} == {1}
    assert shadows(s) == []
    assert [each["mode"] for each in handovers(s)] == ["none"]
