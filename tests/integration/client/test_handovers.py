"""What is said of a promotion, from what the scorers have written."""

import json
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from scorer_stream import Stream

from millrace.cli.models import handover_lines
from millrace.client import Answering, Client
from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def stream(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    made = Stream(broker, Settings(home=tmp_path / "home"), f"h-{uuid.uuid4().hex[:10]}", 2)
    for version in (1, 2):
        made.push(tmp_path / str(version), weights=(version, 1, 1))
    return made


def send(stream: Stream, count: int) -> None:
    stream.send([json.dumps({"a": 1.0, "b": 0.0, "c": 0.0}).encode()] * count)


def test_a_scorer_that_gets_records_answers_with_the_version_from_an_offset_on(stream: Stream) -> None:
    models = Client(stream.broker.kafka).models
    with stream.running():
        send(stream, 10)
        stream.wait_for(10)
        watch = models.handover(stream.model)
        version = models.promote(f"{stream.model}/2").entry.version
        [none_yet] = watch.look(version)
        assert not none_yet.is_done
        sent = 10
        while not all(each.is_done for each in watch.look(version)):
            send(stream, 10)
            sent += 10
            stream.wait_for(sent)
        [answering] = watch.wait(version, within=timedelta(0))
    first = {
        p["source"]["partition"]: p["source"]["offset"] for p in reversed(stream.predictions()) if p["version"] == 2
    }
    assert answering == Answering(stream.name, first)


def test_a_scorer_without_records_has_not_answered(stream: Stream) -> None:
    models = Client(stream.broker.kafka).models
    with stream.running():
        send(stream, 10)
        stream.wait_for(10)
        watch = models.handover(stream.model)
        models.promote(f"{stream.model}/2")
        assert watch.wait(2, within=timedelta(0)) == (Answering(stream.name, {}),)


def test_a_scorer_that_does_not_run_is_not_waited_for(stream: Stream) -> None:
    with stream.running():
        send(stream, 10)
        stream.wait_for(10)
    assert Client(stream.broker.kafka).models.handover(stream.model).look(1) == ()


@pytest.mark.parametrize(
    ("answering", "line"),
    [
        ((), "no scorer of it runs; the next one that starts answers with it"),
        (
            (Answering("rain", {}),),
            "rain has not answered with it within 10 s: look at its records and its log",
        ),
        ((Answering("rain", {1: 7, 0: 12}),), "rain answers with it: partition 0 from offset 12, 1 from offset 7"),
        (
            (Answering("rain", {0: 12}, (1, 3)),),
            "rain answers with it: partition 0 from offset 12; not yet in 1, 3: look at the log of its scorers",
        ),
    ],
)
def test_what_is_said(answering: tuple[Answering, ...], line: str) -> None:
    assert handover_lines(answering, 10.0) == [line]
