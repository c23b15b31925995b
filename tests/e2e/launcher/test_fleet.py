"""Three daemons on one machine, killed and frozen while records flow: what is desired comes back, each record once."""

import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from fleet_stage import PATIENCE, Stage, stage, workers

from millrace.core.control.fleet import Assignment
from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.fleet import ASSIGNMENTS_TOPIC
from millrace.kafka.reading import Reader
from millrace.process.fleet import ASSIGNMENTS
from millrace.process.lifecycle import DRAIN, ExitCode
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from tests.e2e.launcher.stream import Feed, beside, never_too_many, verdict

NODES = ("a", "b", "c")
PARTITIONS = 3
NAME = f"rain-{uuid.uuid4().hex[:8]}"
"""Of the deployment: other tests of this machine may run scorers, too."""
DOCUMENT = {
    "deployment": NAME,
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "group": {"session_timeout_ms": 3000},
    "scale": {"scorers": 3},
}
STOPPED = {ExitCode.DONE, ExitCode.ABORTED}

UNMOVED_SECS = 120
"""A lease that no machine is too slow to renew, for what nobody kills: there each decision is certain."""

Say = Callable[[str], None]


@pytest.fixture
def fleet(own_broker: LocalBroker, tmp_path: Path) -> Iterator[Stage]:
    """A stage with a topic and a model, and no node yet. The topics of control are for one fleet alone."""
    Admin(own_broker.kafka).ensure_topics([TopicSpec("rain.features", PARTITIONS)])
    home = tmp_path / "home"
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
    with stage(own_broker, home) as made:
        yield made


@contextmanager
def feeding(broker: Broker) -> Iterator[None]:
    """Send records all the time."""
    with beside(Feed(broker, "rain.features", PARTITIONS).send):
        yield


def deploy(fleet: Stage) -> None:
    with fleet.control() as control:
        assert control.plan(NAME, DOCUMENT)["faults"] == []
        control.put(NAME, DOCUMENT)
    fleet.await_ready(NAME, PARTITIONS)


def stop(fleet: Stage, *nodes: str) -> float:
    """Ask nodes to leave, and return how many seconds that took.

    Each ends with everything done, or says that it was out of time, and then it was: on a machine that is busy.
    """
    begun = time.monotonic()
    codes = set(fleet.stop(*nodes))
    took = time.monotonic() - begun
    assert codes == {ExitCode.DONE} or (codes <= STOPPED and took >= DRAIN.total_seconds()), f"{codes} after {took} s"
    return took


def decisions(fleet: Stage) -> dict[str, list[Assignment]]:
    """All decisions about each slot, in the order of the log."""
    found: dict[str, list[Assignment]] = {}
    with Reader(fleet.broker.kafka, ASSIGNMENTS_TOPIC) as reader:
        for batch in reader:
            for key, value in zip(batch.keys, batch.values, strict=True):
                if key is not None and value is not None:
                    slot = key.decode()
                    found.setdefault(slot, []).append(ASSIGNMENTS.read(json.loads(value), subject=slot))
    return found


def controller(fleet: Stage, *, via: str | None = None, besides: str | None = None) -> str:
    """The node that decides, as those say that are up."""

    def elected() -> str | None:
        with suppress(MillraceError), fleet.control(via) as control:
            found = control.nodes()
            deciding = [node["node"] for node in found if node["decides"] and node["standing"] == "up"]
            return next((name for name in deciding if name != besides), None)
        return None

    return eventually(elected, within=PATIENCE, what="a controller") or ""


def has_joined(fleet: Stage, node: str, *, via: str) -> bool:
    """Whether a node is counted on, and one node alone says that it decides."""
    with fleet.control(via) as control:
        found = control.nodes()
    [standing] = [each["standing"] for each in found if each["node"] == node]
    deciding = [each["node"] for each in found if each["decides"] and each["standing"] == "up"]
    return bool(standing == "up") and len(deciding) == 1


def test_what_dies_comes_back_and_each_record_is_scored_once(fleet: Stage, say: Say) -> None:
    fleet.start(*NODES)
    deploy(fleet)
    with feeding(fleet.broker), never_too_many(NAME, lambda: PARTITIONS):
        # A scorer is killed.
        victim = psutil.Process(fleet.pid(NAME, f"{NAME}/scorer/0"))
        begun = time.monotonic()
        victim.kill()
        eventually(lambda: not victim.is_running(), within=PATIENCE, what="the scorer's end")
        eventually(lambda: sorted(workers(NAME)) == [0, 1, 2], within=PATIENCE, what="the scorer's successor")
        say(f"a killed scorer runs again after {time.monotonic() - begun:.1f} s")
        fleet.await_ready(NAME, PARTITIONS)
        say(f"and is ready after {time.monotonic() - begun:.1f} s")

        # The controller's node loses its power.
        lost = controller(fleet)
        begun = time.monotonic()
        fleet.cut_power(lost)
        fleet.await_ready(NAME, PARTITIONS, besides=lost)
        say(f"a lost node's scorer, the controller's, is ready elsewhere after {time.monotonic() - begun:.1f} s")
        controller(fleet, besides=lost)
        fleet.start(lost)

        # The new controller is frozen past its session, and thawed.
        frozen = controller(fleet)
        other = next(node for node in NODES if node != frozen)
        begun = time.monotonic()
        fleet.freeze(frozen)
        controller(fleet, via=other, besides=frozen)
        say(f"another controller decides {time.monotonic() - begun:.1f} s after one was frozen")
        eventually(
            lambda: all(s["assignment"]["node"] != frozen for s in fleet.slots(NAME, via=other).values()),
            within=PATIENCE,
            what="the frozen node's scorers elsewhere",
        )
        fleet.thaw(frozen)
        eventually(lambda: has_joined(fleet, frozen, via=other), within=PATIENCE, what="its return")
        fleet.await_ready(NAME, PARTITIONS)
    verdict(fleet.broker, "rain.features", NAME)
    for slot, made in decisions(fleet).items():
        launches = [each.launch for each in made]
        assert launches == sorted(launches), f"{slot}: whoever decided knew what was decided before"


def test_a_daemon_that_is_killed_comes_back_to_its_processes(fleet: Stage) -> None:
    fleet.lease_secs = UNMOVED_SECS
    fleet.start("a")
    deploy(fleet)
    before = {slot: fleet.pid(NAME, slot) for slot in fleet.slots(NAME)}
    fleet.kill_daemon("a")
    fleet.start("a")
    fleet.await_ready(NAME, PARTITIONS)
    assert {slot: fleet.pid(NAME, slot) for slot in fleet.slots(NAME)} == before
    with fleet.control() as control:
        control.scale(NAME, {"scorers": 1})
    eventually(lambda: workers(NAME) == [0], within=PATIENCE, what="the end of what was adopted and is not desired")


def test_everything_comes_back_from_the_log(fleet: Stage) -> None:
    fleet.lease_secs = UNMOVED_SECS
    fleet.start("a", "b")
    deciding = controller(fleet)
    eventually(lambda: all(has_joined(fleet, each, via=deciding) for each in "ab"), within=PATIENCE, what="both nodes")
    deploy(fleet)
    first = Counter(next(each.node for each in made if each.node) for made in decisions(fleet).values())
    assert sorted(first.values()) == [1, 2], "three scorers on two nodes"
    with fleet.control() as control:
        control.scale(NAME, {"scorers": 2})
        told = control.history(NAME)
        document = control.deployment(NAME)["document"]
    assert [(record["what"], record["result"]) for record in told] == [
        ("put deployment", "created"),
        ("scale deployment", {"scale": {"scorers": 2}}),
    ]
    with fleet.control() as control:
        assert control.put(NAME, document)["result"] == "unchanged"
        assert len(control.history(NAME)) == len(told), "the same document leaves no trace"
    fleet.await_ready(NAME, 2)
    stop(fleet, "a", "b")
    eventually(lambda: workers(NAME) == [], within=PATIENCE, what="the end of all processes")
    shutil.rmtree(fleet.home / "nodes")
    fleet.start("a", "b")
    fleet.await_ready(NAME, 2)
    with fleet.control() as control:
        assert control.deployment(NAME)["document"] == document
        assert control.history(NAME) == told
        assert control.verification()["whole"]
        assert control.logs(f"{NAME}/scorer/0"), "the log of the new process"
        broken = {"deployment": "broken", "source": {"topic": "no-such-topic"}, "model": "rain-model"}
        assert any("there is no such topic" in fault for fault in control.plan("broken", broken)["faults"])
        control.put("broken", broken)
        eventually(
            lambda: "there is no such topic" in control.why("broken")[0], within=PATIENCE, what="the cause of the crash"
        )
        control.delete("broken")
        control.delete(NAME)
        eventually(lambda: workers(NAME) == [], within=PATIENCE, what="the end of what was deleted")
        eventually(lambda: control.deployments() == [], within=PATIENCE, what="no deployment")
        with pytest.raises(RequestError, match=f"there is no deployment '{NAME}'"):
            control.why(NAME)


def test_a_node_that_stops_and_starts_again_loses_and_doubles_nothing(fleet: Stage, restarts: int, say: Say) -> None:
    fleet.start("a")
    with fleet.control() as control:
        control.put(NAME, {**DOCUMENT, "scale": {"scorers": 1}})
    fleet.await_ready(NAME, 1)
    stopping, starting = [], []
    with feeding(fleet.broker), never_too_many(NAME, lambda: 1):
        for number in range(restarts):
            stopping.append(stop(fleet, "a"))
            begun = time.monotonic()
            eventually(lambda: workers(NAME) == [], within=PATIENCE, what=f"the end of what ran before stop {number}")
            fleet.start("a")
            fleet.await_ready(NAME, 1)
            starting.append(time.monotonic() - begun)
    total = verdict(fleet.broker, "rain.features", NAME)
    with fleet.control() as control:
        assert [record["what"] for record in control.history(NAME)] == ["put deployment"], "nobody changed anything"
    say(f"{restarts} stops ({max(stopping):.1f} s at most) and starts ({max(starting):.1f} s until it scores again)")
    say(f"{total} records, each scored once")
