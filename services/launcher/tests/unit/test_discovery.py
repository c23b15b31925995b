"""What Prometheus is told, and what it gets where it was sent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

import pytest

from millrace.core.control.fleet import Assignment, Heartbeat, Inventory, NodeState, Order, Process, ProcessState, Slot
from millrace.core.errors import RequestError, TransientError
from millrace.process.health import Health, HealthServer
from millrace.testing.clock import ManualClock
from millrace_launcher.adapters.expositions import Expositions
from millrace_launcher.adapters.rest.scraping import Scraping
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.discovery import LABELS, target_groups
from millrace_launcher.logic.kinds import BUILT_IN
from millrace_launcher.logic.ports import Runner, Running
from millrace_launcher.logic.standing import Heard

SCORER, NOTEBOOK = Slot("rain", "scorer", 0), Slot("book", "notebook", 0)
HEARTBEAT = Heartbeat("a", 1, 2, 6_000, NodeState.UP, "http://a.example:9008", "a", 1, Inventory(1, 1))
HEARD = Heard(HEARTBEAT, timedelta(0), is_live=True)
LOST = Heard(replace(HEARTBEAT, node="b", url="http://b.example:9008"), timedelta(minutes=1), is_live=True)
RUNNING = Process(SCORER, "a", 1, ProcessState.READY, url="http://127.0.0.1:4711")
KINDS = {kind.name: kind for kind in BUILT_IN}


def test_daemons_and_processes_are_found_at_their_daemons_address() -> None:
    daemon, scorer = target_groups({"a": HEARD, "b": LOST}, [RUNNING], kinds={"scorer"})
    place = {"__scheme__": "http", "__metrics_path__": "/v1/metrics"}
    assert daemon == {"targets": ["a.example:9008"], "labels": {"node": "a", "kind": "launcher", **place}}
    own = {"node": "a", "kind": "scorer", "deployment": "rain", "slot": "rain/scorer/0"}
    assert scorer["labels"] == {**own, **place, "__param_slot": "rain/scorer/0"}
    assert tuple(own) == LABELS


@pytest.mark.parametrize(
    "process",
    [
        replace(RUNNING, state=ProcessState.ENDED),
        replace(RUNNING, url=""),
        replace(RUNNING, node="b"),
        replace(RUNNING, slot=NOTEBOOK),
    ],
    ids=["ended", "serves nothing", "its node is lost", "of a kind without metrics"],
)
def test_what_has_no_metrics_is_no_target(process: Process) -> None:
    assert len(target_groups({"a": HEARD, "b": LOST}, [process], kinds={"scorer"})) == 1


@dataclass
class View:
    """What of a fleet's view is looked at."""

    node: str | None = "a"
    urls: dict[str, str] = field(default_factory=dict)

    def assignments(self) -> Mapping[Slot, Assignment]:
        """One, of the scorer."""
        return {SCORER: Assignment(SCORER, Order.RUN, 1, self.node)}

    def heartbeat(self, node: str) -> Heartbeat | None:
        """Of the nodes that have an address."""
        return replace(HEARTBEAT, node=node, url=self.urls[node]) if node in self.urls else None


@dataclass
class Runs:
    """A runner with processes."""

    running: list[Running] = field(default_factory=list)

    def processes(self) -> list[Running]:
        """Those."""
        return self.running


@pytest.fixture
def scorer() -> Iterator[HealthServer]:
    with HealthServer(Health(clock=ManualClock()), lambda: b"up 1\n") as server:
        yield server


@contextmanager
def scraping(view: View, *running: Running) -> Iterator[Scraping]:
    runner = cast("Runner", Runs(list(running)))
    with Expositions() as expositions:
        yield Scraping(cast("FleetView", view), KINDS, runner, expositions, node="a", token="", own=lambda: b"own 1\n")


def test_metrics_of_the_daemon_and_of_its_process_are_handed_on(scorer: HealthServer) -> None:
    with scraping(View(), Running(SCORER, 1, 7, scorer.url, 1)) as here:
        assert here.metrics(None) == "own 1\n"
        assert here.metrics(SCORER) == "up 1\n"


@pytest.mark.parametrize("change", [{"has_ended": True}, {"url": ""}, {"slot": NOTEBOOK}])
def test_a_process_without_metrics_is_refused(scorer: HealthServer, change: dict[str, object]) -> None:
    running = replace(Running(SCORER, 1, 7, scorer.url, 1), **change)  # type: ignore[arg-type]
    with scraping(View(), running) as here, pytest.raises(RequestError, match="serves metrics here"):
        here.metrics(running.slot)


def test_another_node_is_asked_and_one_that_does_not_answer_is_said(scorer: HealthServer) -> None:
    with scraping(View("b")) as here, pytest.raises(RequestError, match="on node b, which is gone"):
        here.metrics(SCORER)
    with scraping(View("b", {"b": scorer.url})) as here, pytest.raises(TransientError, match="slot=rain/scorer/0"):
        here.metrics(SCORER)  # What answers there knows no such path.
