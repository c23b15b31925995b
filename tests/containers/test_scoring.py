"""A node that runs its scorers in containers: a topic is scored, a container is killed, and another one takes over."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fleet_stage import PATIENCE, Stage, stage

from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from tests.e2e.launcher.stream import Feed, beside, verdict

PARTITIONS = 2
NAME = f"rain-{uuid.uuid4().hex[:8]}"
SLOT = f"{NAME}/scorer/0"
DOCUMENT = {
    "deployment": NAME,
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "group": {"session_timeout_ms": 3000},
    "scale": {"scorers": 1},
}


@pytest.fixture
def fleet(own_broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage whose nodes run containers, and no node yet."""
    monkeypatch.setenv("MILLRACE_LAUNCHER__RUNNER", "container")
    Admin(own_broker.kafka).ensure_topics([TopicSpec("rain.features", PARTITIONS)])
    home = tmp_path / "home"
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
    try:
        with stage(own_broker, home) as made:
            made.lease_secs = 60  # A daemon that is started again is back before its processes end.
            yield made
    finally:
        remove_containers(home)


def containers(home: Path) -> list[str]:
    """The containers of the node `a`, those that have ended included."""
    label = f"label=millrace.owner={home / 'nodes' / 'a'}"
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", label], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


def remove_containers(home: Path) -> None:
    """Leave nothing behind."""
    if found := containers(home):
        subprocess.run(["docker", "rm", "--force", "--volumes", *found], check=True, capture_output=True)


def pid(fleet: Stage) -> int | None:
    """The process of the only slot; None between two."""
    process = fleet.slots(NAME)[SLOT]["process"]
    return process["pid"] if process else None


def test_a_scorer_in_a_container_scores_and_is_replaced_when_it_is_killed(fleet: Stage) -> None:
    fleet.start("a")
    with fleet.control() as control:
        control.put(NAME, DOCUMENT)
    fleet.await_ready(NAME, 1)
    with beside(Feed(fleet.broker, "rain.features", PARTITIONS).send):
        killed = fleet.pid(NAME, SLOT)
        guard = psutil.Process(killed)
        assert guard.uids().real == 10001
        guard.kill()
        eventually(lambda: pid(fleet) not in {None, killed}, within=PATIENCE, what="another container")
        fleet.await_ready(NAME, 1)

        # Its daemon is killed and comes back to the same container.
        adopted = fleet.pid(NAME, SLOT)
        fleet.kill_daemon("a")
        fleet.start("a")
        fleet.await_ready(NAME, 1)
        assert fleet.pid(NAME, SLOT) == adopted
    assert len(containers(fleet.home)) == 2
    assert verdict(fleet.broker, "rain.features", NAME) > 0
    with fleet.control() as control:
        control.scale(NAME, {"scorers": 0})
    eventually(lambda: not psutil.pid_exists(adopted), within=PATIENCE, what="the end of the container")
    assert fleet.stop("a") == [0]


def test_an_image_that_is_not_there_is_the_reason_and_names_the_remedy(
    fleet: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CONTAINERS__IMAGES", '{"scorer": "millrace/absent:9"}')
    fleet.start("a")
    with fleet.control() as control:
        [node] = control.nodes()
        assert node["inventory"]["runner"] == "container"
        control.put(NAME, {**DOCUMENT, "scale": {"scorers": 1, "runner": "container"}})
        why = eventually(
            lambda: [line for line in control.why(NAME) if "No such image" in line], within=PATIENCE, what="the reason"
        )
        assert "pull or build it on this node" in why[0]
        control.put(NAME, {**DOCUMENT, "scale": {"scorers": 1, "runner": "kubernetes"}})
        lacking = "a has the runner container, needed kubernetes"
        eventually(lambda: any(lacking in line for line in control.why(NAME)), within=PATIENCE, what="what is lacking")
        control.delete(NAME)
