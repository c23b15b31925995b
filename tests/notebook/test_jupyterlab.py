"""JupyterLab, started by the launcher: its kernel has the client ready, and what it started ends with it."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from fleet_stage import PATIENCE, stage
from websockets.sync.client import connect

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

LONG = timedelta(minutes=4)
DOCUMENT = {"deployment": "rain", "source": {"topic": "rain.features"}, "model": "rain-model"}
CELL = """
from millrace.client import Client, Position
with Client() as client:
    client.send("rain.features", [{"a": 1.0, "b": 0.5, "c": -1.0}])
    prediction = next(client.predictions("rain", start=Position.EARLIEST))
print("scored by", prediction.model, prediction.version)
"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlClient]:
    """A node that scores a topic, and the environment of its user."""
    home = tmp_path / "home"
    with temporary_broker() as broker, stage(broker, home) as fleet:
        Admin(broker.kafka).ensure_topics([TopicSpec("rain.features", 1)])
        with Registry(broker.kafka, Shelf.of(Settings(home=home)), who="kay") as registry:
            registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
        fleet.start("a")
        with fleet.control() as client:
            monkeypatch.setenv("MILLRACE_HOME", str(home))
            monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", broker.bootstrap)
            monkeypatch.setenv("MILLRACE_LAUNCHER__URL", client.url)
            client.put("rain", DOCUMENT)
            client.wait_ready("rain", within=LONG)
            yield client


def test_s67_a_kernel_of_a_launched_jupyterlab_scores_a_record_and_ends_with_it(
    control: ControlClient, capsys: pytest.CaptureFixture[str]
) -> None:
    as_root = [] if os.geteuid() else ["--", "--allow-root"]  # as it wants to be asked
    assert run(["launch", "notebook", "--name", "desk", *as_root]) == 0
    eventually(lambda: control.job("desk")["state"] in {"ready", "failed"}, within=LONG, what="JupyterLab")
    assert control.job("desk")["state"] == "ready", control.why("desk")
    capsys.readouterr()
    assert run(["job", "logs", "desk"]) == 0
    found = re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\w+)", capsys.readouterr().out)
    assert found, "its address is in its log"
    address, token = found.groups()

    with httpx.Client(base_url=address, trust_env=False, timeout=60) as browser:
        assert browser.post("/api/kernels").status_code == httpx.codes.FORBIDDEN, "who has no token gets nothing"
        browser.headers["Authorization"] = f"token {token}"
        assert "JupyterLab" in browser.get("/lab").text
        kernel = browser.post("/api/kernels", json={"name": "python3"}).raise_for_status().json()["id"]
    family = psutil.Process(control.job("desk")["process"]["pid"]).children(recursive=True)
    assert any(kernel in word for process in family for word in process.cmdline())
    assert execute(f"{address.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels", token, CELL) == (
        "scored by rain-model 1\n"
    )

    assert run(["job", "cancel", "desk"]) == 0
    eventually(lambda: not any(map(is_running, family)), within=PATIENCE, what="the end of the kernel")


def execute(address: str, token: str, code: str) -> str:
    """What a cell prints."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "test", "version": "5.3"}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": {"code": code}}
    said = ""
    headers, patience = {"Authorization": f"token {token}"}, LONG.total_seconds()
    with connect(address, additional_headers=headers, proxy=None, open_timeout=patience) as socket:
        socket.send(json.dumps(request))
        while True:
            answer = json.loads(socket.recv(timeout=patience))
            if answer["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            match answer["msg_type"], answer["content"]:
                case "stream", {"name": "stdout", "text": text}:
                    said += text
                case "error", {"traceback": lines}:
                    pytest.fail("\n".join(lines))
                case "status", {"execution_state": "idle"}:
                    return said  # After everything that the cell said.


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
