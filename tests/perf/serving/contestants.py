"""The servers that are measured, each as a process of its own, on the iris model."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import psutil
import yaml
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.export import Origin, export
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.waiting import eventually

ROOT: Final = Path(__file__).resolve().parents[3]
MLSERVER: Final = ROOT / ".venv-mlserver" / "bin"
_STARTING: Final = timedelta(seconds=300)
_SAID_CHARACTERS: Final = 4000
"""So much of what a server said last is shown with its failure."""

_TRAIN: Final = """
import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
features, labels = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=1000).fit(features, labels), "model.joblib")
"""


@dataclass(frozen=True)
class Contestant:
    """A server at work.

    Attributes:
        name: For the table.
        model: Name of the model in addresses.
        rest_port: Of HTTP.
        grpc_port: Of gRPC.
        processes: Its first processes.
    """

    name: str
    model: str
    rest_port: int
    grpc_port: int
    processes: tuple[psutil.Process, ...]

    def cpu_secs(self) -> float:
        """Processor time that it and its children have used."""
        family = [each for first in self.processes for each in (first, *first.children(recursive=True))]
        times = [each.cpu_times() for each in family]
        return sum(each.user + each.system for each in times)


@contextmanager
def gateway(kafka: KafkaSettings, folder: Path, *, name: str, workers: int = 1) -> Iterator[Contestant]:
    """This project's gateway, with every request and answer written to topics; several workers share its ports."""
    folder.mkdir()
    settings = Settings(home=folder / "home")
    found = load_iris()
    features = np.asarray(found.data, np.float32)
    model = LogisticRegression(max_iter=1000).fit(features, found.target)
    origin = Origin(name, datetime.now(UTC))
    bundle = export(model, features, origin=origin, directory=folder / "bundle", labels=found.target)
    with Registry(kafka, Shelf.of(settings), who="perf") as registry:
        registry.push(bundle.directory)
    Admin(kafka).ensure_topics([TopicSpec(f"{name}.features", 1)])
    file = folder / "iris.yaml"
    file.write_text(yaml.safe_dump({"deployment": name, "source": {"topic": f"{name}.features"}, "model": name}))
    rest, rpc = _free_port(), _free_port()
    environment = {
        "MILLRACE_HOME": str(settings.home),
        "MILLRACE_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_GATEWAY__REST__PORT": str(rest),
        "MILLRACE_GATEWAY__GRPC__PORT": str(rpc),
    }
    command = [sys.executable, "-m", "millrace_gateway", "--file", str(file)]
    with ExitStack() as stack:
        processes = []
        for slot in range(workers):
            log = folder / f"log-{slot}"
            processes.append(stack.enter_context(_process([*command, "--slot", str(slot)], folder, environment, log)))
            eventually(partial(_says_ready, log), within=_STARTING, what=f"worker {slot}")
        yield Contestant("millrace", name, rest, rpc, tuple(processes))


@contextmanager
def mlserver(folder: Path, *, tuned: str) -> Iterator[Contestant]:
    """MLServer with its scikit-learn runtime; `tuned` is `default`, or `in-process`: scoring beside the doors."""
    folder.mkdir()
    subprocess.run([MLSERVER / "python", "-c", _TRAIN], cwd=folder, check=True, timeout=300)
    rest, rpc, metrics = _free_port(), _free_port(), _free_port()
    settings: dict[str, object] = {"host": "127.0.0.1", "http_port": rest, "grpc_port": rpc, "metrics_port": metrics}
    if tuned == "in-process":
        settings |= {"parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "debug": False}))
    model = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(MLSERVER / "mlserver"), "start", "."]
    with _process(command, folder, {}, folder / "log") as process:

        def is_ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{rest}/v2/models/iris/ready", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready, within=_STARTING, what="MLServer to serve")
        yield Contestant(f"MLServer, {tuned}", "iris", rest, rpc, (process,))


def _says_ready(log: Path) -> bool:
    return b'"event":"ready"' in log.read_bytes()


@contextmanager
def _process(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield psutil.Process(process.pid)
            assert process.poll() is None, "it ended by itself"
        except AssertionError as failure:
            failure.add_note(log.read_text()[-_SAID_CHARACTERS:])
            raise
        finally:
            process.terminate()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
