"""The stack in containers as tests see it: started from nothing, with a deployment, and asked from this machine."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from millrace.client.control import ControlClient
from millrace.core.errors import MillraceError, TransientError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.testing.broker import BorrowedBroker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from tests.e2e.launcher.stream import Feed

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = "millrace-test"
FILES: Final = ("compose/compose.yaml", "tests/compose/collector.yaml")
BOOTSTRAP: Final = "localhost:19092,localhost:19093,localhost:19094"
PATIENCE: Final = timedelta(seconds=600)
FEATURES: Final = "rain.features"
MODEL: Final = "rain-model"
VOLUME: Final = "/var/lib/millrace"
"""What a container of millrace may write."""
PARTITIONS: Final = 3
DOCUMENT: Final = {
    "deployment": "rain",
    "source": {"topic": FEATURES},
    "model": MODEL,
    "group": {"session_timeout_ms": 6000},
    "scale": {"scorers": PARTITIONS},
}
NOT_ON_NODES: Final = {**DOCUMENT, "scale": {"scorers": 0}}
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
BEHIND: Final = ("gateway", "gateway-2", "haproxy", "prometheus")
"""What is started once there is a deployment. Grafana is not: it has no stand-in."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The containers, and how to reach what is in them.

    Attributes:
        token: The owner's secret.
        prometheus_key: The file whose key Prometheus shows.
    """

    token: str = field(repr=False)
    prometheus_key: Path
    broker: BorrowedBroker = field(default_factory=lambda: BorrowedBroker(BOOTSTRAP))

    def compose(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = _NOTHING) -> str:
        """Run `docker compose` on the stack, and return its output; what it says is shown when it fails."""
        command = ["docker", "compose", "--project-name", PROJECT, *(word for each in FILES for word in ("-f", each))]
        given = {
            **environment,
            "MILLRACE_LAUNCHER__TOKEN": self.token,
            "GRAFANA_PASSWORD": self.token,
            "MILLRACE_PROMETHEUS_KEY": str(self.prometheus_key),
        }
        done = subprocess.run(
            [*command, "--profile", "*", *arguments],
            cwd=ROOT,
            env={**os.environ, **given},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=1500,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr.decode()[-4000:]}"
        return done.stdout.decode()

    def up(self, *services: str, environment: Mapping[str, str] = _NOTHING) -> None:
        """Start services and wait until they are well; those whose environment is another now are replaced."""
        upward = ("up", "--detach", "--wait", "--wait-timeout", "900", "--no-build")
        self.compose(*upward, *services, environment=environment)

    def run(self, service: str, *command: str) -> str:
        """Run a command in a service's container to its end, and return what it says."""
        return self.compose("exec", "-T", service, *command)

    def put(self, service: str, folder: Path, name: str) -> str:
        """Copy a folder into a service's volume; returns its path there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=name)
        self.compose("exec", "-T", service, "tar", "-x", "-C", VOLUME, stdin=packed.getvalue())
        return f"{VOLUME}/{name}"

    def get(self, service: str, name: str, folder: Path) -> None:
        """Copy a folder out of a service's volume."""
        self.compose("cp", f"{service}:{VOLUME}/{name}", str(folder))

    def replace(self, service: str) -> None:
        """Stop a service's container and start another in its place, as an upgrade does."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", "900", "--force-recreate", "--no-deps", service)

    def inspect(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every running container: its service, and what Docker knows of it."""
        for number in self.compose("ps", "--quiet").split():
            done = subprocess.run(["docker", "inspect", number], capture_output=True, check=True, timeout=60)
            [container] = json.loads(done.stdout)
            yield container["Config"]["Labels"]["com.docker.compose.service"], container

    def control(self) -> ControlClient:
        """The API of the first node."""
        return ControlClient("http://127.0.0.1:9008", token=self.token)

    def deploy(self, folder: Path) -> None:
        """Deploy `rain` from a model that is pushed from inside a node, where the store of model files is."""
        Admin(self.broker.kafka).ensure_topics([TopicSpec(FEATURES, PARTITIONS)])
        bundle = self.put("launcher-1", linear_bundle(folder, name=MODEL).directory, "bundle")
        self.run("launcher-1", "millrace", "model", "push", bundle)
        with self.control() as control:
            control.put("rain", DOCUMENT)
            control.wait_ready("rain", within=PATIENCE)

    def take_from_nodes(self) -> None:
        """Have the nodes end all processes of the deployment."""
        with self.control() as control:
            control.put("rain", NOT_ON_NODES)
        eventually(self._is_left_by_nodes, within=PATIENCE, what="no scorer on a node")

    def feed(self) -> Feed:
        """What sends records all the time, and waits for a broker that is away."""
        return Feed(self.broker, FEATURES, PARTITIONS, delivery_timeout=PATIENCE)

    def predictions(self) -> int:
        """How many can be read."""
        with Reader(self.broker.kafka, "rain.predictions") as reader:
            return sum(map(len, reader))

    def await_more_predictions(self, what: str) -> None:
        """Wait until some hundred records more have been scored."""
        enough = eventually(self._predictions_if_readable, within=PATIENCE, what="predictions") + 300
        eventually(lambda: self._predictions_if_readable() >= enough, within=PATIENCE, what=what)

    def _predictions_if_readable(self) -> int:
        """How many; zero while a partition has no leader."""
        with suppress(TransientError):
            return self.predictions()
        return 0

    def is_tended_by(self, *nodes: str) -> bool:
        """Whether all scorers are ready, and on these nodes alone."""
        with suppress(MillraceError), self.control() as control:
            slots = control.deployment("rain")["slots"]
            return all(each["state"] == "ready" and each["assignment"]["node"] in nodes for each in slots)
        return False

    def _is_left_by_nodes(self) -> bool:
        """Whether no node runs a process of the deployment."""
        with suppress(MillraceError), self.control() as control:
            processes = [each["process"] for each in control.deployment("rain")["slots"]]
            return all(each is None or each["state"] == "ended" for each in processes)
        return False

    def has_all_replicas(self) -> bool:
        """Whether every partition is on all brokers that shall have it, so that one more may go."""
        tool = ("/opt/kafka/bin/kafka-topics.sh", "--describe", "--under-replicated-partitions")
        asked = ("--bootstrap-server", "kafka-1:9092,kafka-2:9092,kafka-3:9092")
        return not self.compose("exec", "-T", "kafka-1", *tool, *asked).strip()
