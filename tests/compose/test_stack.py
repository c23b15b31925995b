"""The stack in containers: a broker of three is killed, then a node, while records flow; each is scored once."""

import io
import os
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import pytest

from millrace.client.control import ControlClient
from millrace.core.errors import MillraceError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.testing.broker import BorrowedBroker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from tests.e2e.launcher.stream import Feed, beside, verdict

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = "millrace-test"
BOOTSTRAP: Final = "localhost:19092,localhost:19093,localhost:19094"
PATIENCE: Final = timedelta(seconds=180)
PARTITIONS: Final = 3
DOCUMENT: Final = {
    "deployment": "rain",
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "group": {"session_timeout_ms": 6000},
    "scale": {"scorers": PARTITIONS},
}


@dataclass(frozen=True, slots=True)
class Stack:
    """The containers, and how to reach what is in them."""

    token: str
    broker: BorrowedBroker

    def compose(self, *arguments: str, stdin: bytes = b"") -> None:
        """Run `docker compose` on the stack; what it says is shown when it fails."""
        command = ["docker", "compose", "--project-name", PROJECT, "--file", "compose/compose.yaml", *arguments]
        environment = {**os.environ, "MILLRACE_LAUNCHER__TOKEN": self.token, "GRAFANA_PASSWORD": self.token}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, input=stdin, capture_output=True, check=False, timeout=1500
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr.decode()[-4000:]}"

    def control(self) -> ControlClient:
        """The API of the first node."""
        return ControlClient("http://127.0.0.1:9008", token=self.token)

    def push(self, bundle: Path) -> None:
        """Push a model from inside a node, where the store of model files is."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(bundle, arcname="bundle")
        self.compose("exec", "-T", "launcher-1", "tar", "-x", "-C", "/var/lib/millrace", stdin=packed.getvalue())
        self.compose("exec", "-T", "launcher-1", "millrace", "model", "push", "/var/lib/millrace/bundle")

    def predictions(self) -> int:
        """How many can be read."""
        with Reader(self.broker.kafka, "rain.predictions") as reader:
            return sum(map(len, reader))

    def await_more_predictions(self, what: str) -> None:
        """Wait until some hundred records more have been scored."""
        enough = self.predictions() + 300
        eventually(lambda: self.predictions() >= enough, within=PATIENCE, what=what)

    def is_tended_by(self, *nodes: str) -> bool:
        """Whether all scorers are ready, and on these nodes alone."""
        with suppress(MillraceError), self.control() as control:
            slots = control.deployment("rain")["slots"]
            return all(each["state"] == "ready" and each["assignment"]["node"] in nodes for each in slots)
        return False


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack(secrets.token_urlsafe(32), BorrowedBroker(BOOTSTRAP))
    made.compose("--profile", "*", "down", "--volumes")
    try:
        made.compose("up", "--build", "--detach", "--wait", "--wait-timeout", "300")
        yield made
    finally:
        made.compose("--profile", "*", "down", "--volumes")


def test_a_broker_and_a_node_are_killed_and_each_record_is_scored_once(stack: Stack, tmp_path: Path) -> None:
    Admin(stack.broker.kafka).ensure_topics([TopicSpec("rain.features", PARTITIONS)])
    stack.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
    with stack.control() as control:
        control.put("rain", DOCUMENT)
        control.wait_ready("rain", within=PATIENCE)
    with beside(Feed(stack.broker, "rain.features", PARTITIONS).send):
        stack.await_more_predictions("predictions")
        stack.compose("kill", "kafka-2")
        stack.await_more_predictions("predictions from two brokers")
        stack.compose("up", "--detach", "--wait", "kafka-2")
        stack.compose("kill", "launcher-2")
        eventually(lambda: stack.is_tended_by("launcher-1"), within=PATIENCE, what="all scorers on the other node")
        stack.await_more_predictions("predictions from one node")
        stack.compose("up", "--detach", "--wait", "launcher-2")
    verdict(stack.broker, "rain.features", "rain")


def test_the_gateway_answers_whoever_has_a_key(stack: Stack) -> None:
    with stack.control() as control:
        key = control.create_key("stack-test")["key"]
    with httpx.Client(base_url="http://127.0.0.1:8000", trust_env=False) as client:
        assert client.get("/v2/health/ready").status_code == HTTPStatus.OK
        assert client.get("/v2/models/rain-model").status_code == HTTPStatus.UNAUTHORIZED
        known = {"Authorization": f"Bearer {key}"}
        eventually(
            lambda: client.get("/v2/models/rain-model", headers=known).status_code == HTTPStatus.OK,
            within=PATIENCE,
            what="the model",
        )
