"""A real scorer, and the command line around it: push, send, watch, explain, replay."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.cli.app import run
from millrace.client import Client, Position, Until
from millrace.core.errors import RequestError
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

Capture = pytest.CaptureFixture[str]

ROWS = 50
BAD = ['{"a": 1, "b": "two", "c": 3}', '{"a": 1, "b": 2']


@dataclass(frozen=True)
class World:
    """A deployment that has scored what was sent, with a scorer that goes on."""

    name: str
    bootstrap: str
    capsys: Capture

    def millrace(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run a command with --json; its documents."""
        self.capsys.readouterr()
        assert run([*words, "--json", "--bootstrap", self.bootstrap]) == code, self.capsys.readouterr().err
        return [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]

    def predictions(self) -> list[dict[str, Any]]:
        return self.millrace("watch", self.name, "--since", "earliest", "--until-now")

    def dead_letters(self) -> list[dict[str, Any]]:
        return self.millrace("dlq", "show", self.name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MILLRACE_HOME", str(folder))
    return folder


@pytest.fixture
def world(broker: Broker, home: Path, tmp_path: Path, capsys: Capture) -> Iterator[World]:
    name = f"explained-{uuid.uuid4().hex[:8]}"
    world = World(name, broker.bootstrap, capsys)
    bundle = tmp_path / "bundle"
    linear_bundle(bundle, name=name)
    world.millrace("model", "push", str(bundle))
    numbers = np.random.default_rng(7).normal(size=(ROWS, 3)).round(4).tolist()
    rows = [json.dumps(dict(zip("abc", row, strict=True))) for row in numbers]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([*rows[: ROWS // 2], *BAD, *rows[ROWS // 2 :]]))
    world.millrace("send", name, str(file), "--create", "2")
    document = tmp_path / "deployment.json"
    document.write_text(json.dumps({"deployment": name, "source": {"topic": f"{name}.features"}, "model": name}))
    command = [sys.executable, "-m", "millrace_scorer", "--file", str(document)]
    environment = {**os.environ, "MILLRACE_KAFKA__BOOTSTRAP": broker.bootstrap, "MILLRACE_HOME": str(home)}
    with (tmp_path / "scorer.log").open("wb") as log:
        scorer = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _has_settled(world), within=timedelta(seconds=60), what="every record to have an outcome")
        yield world
    finally:
        scorer.terminate()
        assert scorer.wait(30) == 0


def _has_settled(world: World) -> bool:
    client = Client(world.bootstrap)
    try:
        predictions = list(client.predictions(world.name, start=Position.EARLIEST, until=Until.NOW))
        return len(predictions) == ROWS and len(list(client.dead_letters(world.name))) == len(BAD)
    except RequestError:  # the scorer has not made its topics yet
        return False


def test_every_outcome_is_explained_and_a_replay_comes_back(world: World) -> None:
    for prediction in world.predictions()[::10]:
        source = "{topic}-{partition}-{offset}".format(**prediction["source"])
        [of_source] = world.millrace("explain", source, "--deployment", world.name)
        assert of_source["verdict"] == "equal"
        assert of_source["again"]["scores"] == prediction["outputs"]["scores"]
        assert of_source["again"]["bins"] == prediction["bins"]
        assert json.loads(of_source["value"]) == of_source["features"]
        [of_prediction] = world.millrace("explain", prediction["at"], "--deployment", world.name)
        assert of_prediction["source"] == source

    letters = world.dead_letters()
    assert {letter["reason"] for letter in letters} == {"wrong_type", "truncated"}
    [explained] = world.millrace("explain", letters[0]["source"], "--deployment", world.name, code=1)
    assert explained["verdict"] == "dead_letter"
    assert explained["dead_letter"]["at"] == letters[0]["at"]

    assert world.millrace("dlq", "replay", world.name)[0]["sent"] == len(BAD)
    came_back = eventually(
        lambda: found if len(found := world.dead_letters()) == 2 * len(BAD) else None,
        within=timedelta(seconds=120),
        what="the replayed records to fail again",
    )
    assert came_back is not None
    assert sorted(letter["replays"] for letter in came_back) == [0, 0, 1, 1]
    assert len(world.predictions()) == ROWS


def test_a_row_of_a_record_with_many_is_explained(world: World, tmp_path: Path) -> None:
    rows = tmp_path / "many.jsonl"
    rows.write_text("".join(json.dumps({"a": n, "b": n / 2, "c": -n}) + "\n" for n in range(5)))
    world.millrace("send", world.name, str(rows), "--as", "arrow", "--partition", "0")
    found = eventually(
        lambda: many if len(many := [p for p in world.predictions() if "row" in p["source"]]) == 4 else None,
        within=timedelta(seconds=120),
        what="predictions of the rows 1 to 4",
    )
    assert found is not None
    for prediction in found:
        [explained] = world.millrace("explain", prediction["event_id"], "--deployment", world.name)
        assert (explained["verdict"], explained["source"]) == ("equal", prediction["event_id"])
        assert explained["features"]["a"] == prediction["source"]["row"]
    beyond = "{topic}-{partition}-{offset}.9".format(**found[0]["source"])
    [explained] = world.millrace("explain", beyond, "--deployment", world.name, code=1)
    assert explained["verdict"] == "no_outcome"
