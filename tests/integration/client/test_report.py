"""The report page of a deployment that only its topics tell of."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from millrace.cli.app import run
from millrace.client import Client
from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC, Change, ControlWriter, Put
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker

SCHEMAS: Final = Path(__file__).parents[3] / "schemas"
Capture = pytest.CaptureFixture[str]


def example(subject: str, name: str, **changes: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{subject}/v1/examples/valid/{name}.json").read_text())
    return {**document, **changes}


def write(broker: Broker, topic: str, documents: Sequence[dict[str, Any]], key: str) -> None:
    Admin(broker.kafka).ensure_topics([RETRAIN_TOPIC if topic == RETRAIN_TOPIC.name else TopicSpec(topic, 1)])
    count = len(documents)
    values = [json.dumps(document).encode() for document in documents]
    with Writer(broker.kafka) as writer:
        zeros = np.zeros(count, np.int32)
        times = np.full(count, 1_600_000_000_000, np.int64)
        writer.write(OutputBatch(topic, zeros, times, [key.encode()] * count, values))


@pytest.fixture
def deployment(broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A deployment of a model of its own, with reports, an alert, and a loop; the alert and a loop of another, too."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    name = f"d-{uuid.uuid4().hex[:8]}"
    model, loop = f"{name}-model", str(uuid.uuid4())
    closed = example("audits", "closed", model=model, version=1)
    mature = example("audits", "mature", model=model, version=1)
    segment = example("audits", "mature", model=model, version=1, segment="north", id="of-a-segment")
    segment["counts"] = {**mature["counts"], "predictions": 100_000}
    write(broker, f"{name}.audits", [closed, segment, mature], "k")
    alerts = [example("alerts", "drift", deployment=whose, feature=f"of-{whose}") for whose in (name, "another")]
    write(broker, "millrace.alerts", alerts, "k")
    common = {"model": model, "loop_id": loop}
    records = [
        example("retrain-requests", "requested", **common, deployment=name),
        example("retrain-requests", "accepted", **common),
        example("retrain-requests", "noted", **common, deployment="another"),
        example("retrain-requests", "requested", model=model, loop_id="not-mine", deployment="another"),
    ]
    write(broker, RETRAIN_TOPIC.name, records, model)
    return name


def test_the_page_tells_what_the_topics_tell(broker: Broker, deployment: str) -> None:
    page = Client(broker.kafka).report_page(deployment)
    assert f"<h1>{deployment}: audit</h1>" in page
    assert f"{deployment}-model/1 is in force." in page
    assert "accuracy 0.850" in page
    assert f"of-{deployment}" in page
    assert "of-another" not in page
    assert "100,000" not in page  # a segment is no window of the whole
    assert "at work" in page
    assert "not-mine"[:8] not in page
    assert "(the default: the deployment&#39;s document is not in millrace.deployments)" in page


def test_the_floor_is_that_of_the_deployment_where_its_document_is_known(broker: Broker, deployment: str) -> None:
    document: dict[str, object] = {
        "deployment": deployment,
        "source": {"topic": "weather.features"},
        "model": f"{deployment}-model",
        "audit": {"min_drift": 0.125},
    }
    with ControlWriter(broker.kafka, who="test") as control:
        change = Change([Put(DEPLOYMENTS_TOPIC, deployment, document)], deployment)
        control.apply(f"deployment/{deployment}", "test", lambda _: change)
    page = Client(broker.kafka).report_page(deployment)
    assert "matters from the floor on, 0.125." in page


def test_the_command_writes_the_page_to_a_file(
    broker: Broker, deployment: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "page.html"
    at = ("--bootstrap", broker.bootstrap)
    assert run(["audit", deployment, "--html", str(file), *at]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run(["audit", deployment, "--html", str(tmp_path / "nowhere" / "page.html"), *at]) != 0
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_the_command_shows_the_same_windows_in_the_terminal(
    broker: Broker, deployment: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    at = ("--bootstrap", broker.bootstrap)
    assert run(["audit", deployment, *at]) == 0
    said = capsys.readouterr().out
    assert "accuracy ▄ 0.850" in said
    assert f"raised drift of-{deployment} js" in said
    assert run(["audit", deployment, "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["performance"]["accuracy"]["value"] == 0.85


def test_a_deployment_that_nobody_audits_is_named_with_those_that_are(broker: Broker, deployment: str) -> None:
    with pytest.raises(RequestError, match=r"nobody\.audits") as refused:
        Client(broker.kafka).report_page("nobody")
    assert deployment in refused.value.remedy
