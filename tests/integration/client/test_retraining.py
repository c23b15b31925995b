"""Promoting, rolling back and asking for a better version, as clients and commands do it."""

import json
import uuid
from pathlib import Path

import pytest

from millrace.cli.app import run
from millrace.client import Client, Requested
from millrace.core.errors import RequestError
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def client(broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return Client(broker.kafka)


@pytest.fixture
def model(client: Client, tmp_path: Path) -> str:
    """A model of three versions; the second is the challenger."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    for version, weight in enumerate((1.0, 2.0, 3.0), start=1):
        bundle = linear_bundle(tmp_path / str(version), name=name, weights=(weight, 0, 0))
        client.models.push(bundle.directory, alias="challenger" if version == 2 else None)
    return name


def champion(client: Client, model: str) -> int:
    return client.models.show(model).version.entry.version


def test_a_challenger_is_promoted_and_rolled_back(client: Client, model: str) -> None:
    assert client.models.promote(model).aliases == ("champion",)
    assert client.models.promote(f"{model}/3").entry.version == 3
    assert client.models.rollback(model).entry.version == 2
    assert champion(client, model) == 2
    assert client.models.rollback(model).entry.version == 3


def test_commands_promote_and_roll_back(client: Client, model: str, capsys: Capture) -> None:
    at = ("--bootstrap", client.kafka.bootstrap)
    assert run(["model", "rollback", model, *at]) == 1
    assert "ever was the champion" in capsys.readouterr().err
    assert run(["model", "promote", model, *at]) == 0
    said = capsys.readouterr().out
    assert f"{model}/2 (champion)" in said
    assert "no scorer of it runs" in said
    assert run(["model", "rollback", model, "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


def test_a_request_is_in_the_log_for_the_trainer(client: Client, model: str, capsys: Capture) -> None:
    assert run(["retrain", model, "--since", "2h", "--json", "--bootstrap", client.kafka.bootstrap]) == 0
    said = json.loads(capsys.readouterr().out)
    [request] = client.retrain_requests(model)
    assert isinstance(request, Requested)
    assert (request.loop_id, request.version, request.reason) == (said["loop_id"], 1, "manual")
    assert (request.data.end - request.data.start).total_seconds() == pytest.approx(7200, abs=60)
    assert client.retrain(model).loop_id != request.loop_id


def test_a_model_that_does_not_exist_cannot_be_retrained(client: Client) -> None:
    with pytest.raises(RequestError, match="there is no model 'nobody'"):
        client.retrain("nobody")
