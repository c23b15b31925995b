"""Rows of acceptance about the gateway's doors. The gateway's own tests show the others: `docs/acceptance.md`."""

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.grpc as triton
import yaml
from gateway_stage import GatewayStage, is_ready
from scorer_stream import Stream

from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.serving.export import Origin, export_function
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually
from millrace_gateway.adapters.haproxy import configuration
from millrace_gateway.settings import GatewaySettings

ROWS = np.random.default_rng(3).normal(size=(50, 3)).astype(np.float32)

PATIENT_MODEL = """
import os, time

PAUSE = float(os.environ.get("PAUSE_SECS", "0"))

def score(features):
    # A model that waits for something, here longer and there shorter; it answers how long.
    time.sleep(PAUSE)
    return features["a"] * 0 + PAUSE
"""
QUICK, SLOW = 0.02, 0.2
SERVERS = (SLOW, QUICK, QUICK)
CLIENTS = 6


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def stage(broker: Broker, settings: Settings) -> GatewayStage:
    return GatewayStage(broker, settings)


@pytest.fixture
def rain(broker: Broker, settings: Settings, tmp_path: Path) -> Stream:
    """A stream with a model."""
    made = Stream(broker, settings, f"d-{uuid.uuid4().hex[:10]}", 2)
    made.push(tmp_path / "bundle")
    return made


def test_s25_one_tensor_by_both_doors_and_by_topic_is_answered_to_the_last_bit(
    stage: GatewayStage, rain: Stream
) -> None:
    tensor = {"name": "features", "shape": [*ROWS.shape], "datatype": "FP32", "data": ROWS.tolist()}
    given = triton.InferInput("features", [*ROWS.shape], "FP32")
    given.set_data_from_numpy(ROWS)
    with stage.running(rain.deployment()) as client, triton.InferenceServerClient(stage.target) as other:
        by_rest = client.post(f"/v2/models/{rain.name}/infer", json={"inputs": [tensor], "id": "rest"}).json()
        by_grpc = other.infer(rain.name, [given], request_id="grpc").as_numpy("scores")
    rest = next(each["data"] for each in by_rest["outputs"] if each["name"] == "scores")
    assert np.array(rest, np.float32).tobytes() == by_grpc.tobytes()
    online = {each["event_id"]: each["outputs"] for each in rain.predictions()}

    by_topic = Stream(rain.broker, rain.settings, f"{rain.name}-topic", 2)
    by_topic.model = rain.model
    by_topic.send(
        [orjson.dumps(dict(zip("abc", map(float, row), strict=True))) for row in ROWS],
        headers=[[("id", str(number).encode())] for number in range(len(ROWS))],
    )
    with by_topic.running():
        by_topic.wait_for(len(ROWS))
    for each in by_topic.predictions():
        row = "" if each["event_id"] == "0" else f".{each['event_id']}"
        assert each["outputs"] == online[f"rest{row}"] == online[f"grpc{row}"]


@contextmanager
def haproxy(options: GatewaySettings, folder: Path) -> Iterator[None]:
    """A real HAProxy, on the configuration that the gateway writes."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.fail("HAProxy is not installed: apt-get install haproxy")
    file = folder / "haproxy.cfg"
    file.write_text(configuration(options), encoding="utf-8")
    with subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.PIPE) as process:
        assert options.haproxy.socket is not None
        eventually(options.haproxy.socket.exists, what="HAProxy's socket")
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def server(stage: GatewayStage, document: Path, slot: int, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker behind HAProxy, as a process that may be killed."""
    environment = {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": stage.broker.bootstrap,
        "MILLRACE_HOME": str(stage.settings.home),
        **variables,
    }
    command = [sys.executable, "-m", "millrace_gateway", "--file", str(document), "--slot", str(slot)]
    with (
        document.with_suffix(f".{slot}.log").open("wb") as said,
        subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@dataclass
class Crowd:
    """Clients that ask without a pause, and which server answered, by how long it waits."""

    url: str
    refusals: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            wanted = client.get(self.url).json()["inputs"]
            inputs = [{**each, "shape": [1, *each["shape"][1:]], "data": [1.0] * each["shape"][1]} for each in wanted]
            while not self.enough.is_set():
                answer = client.post(f"{self.url}/infer", json={"inputs": inputs})
                if not answer.is_success:
                    self.refusals.append(answer.text)
                    return
                self.answered.append(round(answer.json()["outputs"][0]["data"][0], 3))

    def await_more(self, count: int) -> Counter[float]:
        """Who answers so many further requests."""
        begun = len(self.answered)

        def have_come() -> bool:
            return len(self.answered) >= begun + count

        eventually(have_come, within=timedelta(seconds=60), what=f"{count} further answers, not {self.refusals}")
        return Counter(self.answered[begun : begun + count])


@pytest.fixture
def patient(rain: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose model takes as long as its process is told."""
    (tmp_path / "patient_rules.py").write_text(PATIENT_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bundle = export_function(
        "patient_rules:score",
        {name: np.linspace(0, 1, 10) for name in "abc"},
        origin=Origin(f"{rain.name}-patient", datetime(2026, 1, 1, tzinfo=UTC)),
        directory=tmp_path / "patient",
    )
    with rain.registry() as registry:
        registry.push(bundle.directory)
    return rain.deployment(model=f"{rain.name}-patient", runtime={"python_functions": True})


def test_s66_a_slow_server_gets_few_requests_and_a_killed_one_is_not_noticed(
    stage: GatewayStage, patient: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("h")  # paths of sockets must be short
    options = stage.options(haproxy={"socket": folder / "s", "workers": len(SERVERS)})
    document = folder / "patient.yaml"
    document.write_text(yaml.safe_dump(patient.document()), encoding="utf-8")
    variables = {"MILLRACE_GATEWAY__HAPROXY__SOCKET": str(folder / "s")}
    crowd = Crowd(f"{stage.url}/v2/models/{patient.deployment}")
    with ExitStack() as stack:
        stack.enter_context(haproxy(options, folder))
        servers = [
            stack.enter_context(server(stage, document, slot, PAUSE_SECS=str(pause), **variables))
            for slot, pause in enumerate(SERVERS)
        ]
        with httpx.Client(base_url=stage.url, timeout=30) as client:
            eventually(lambda: is_ready(client), within=timedelta(seconds=60), what="a server behind HAProxy")
        clients = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        stack.callback(crowd.enough.set)
        asking = [clients.submit(crowd.ask) for _ in range(CLIENTS)]
        eventually(lambda: {SLOW, QUICK} <= set(crowd.await_more(20)), within=timedelta(seconds=60), what="all servers")
        share = crowd.await_more(300)[SLOW] / 300
        servers[-1].kill()
        crowd.await_more(100)
        crowd.enough.set()
        for each in asking:
            each.result(timeout=30)
    assert 0 < share < 0.15
    assert crowd.refusals == []
