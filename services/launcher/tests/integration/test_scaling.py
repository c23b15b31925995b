"""What the autoscaler does to documents on a real broker, and what it must not do."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC, Change, ControlWriter, Put
from millrace.kafka.history import read_history
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.clock import ManualClock
from millrace.testing.models import linear_bundle
from millrace_launcher.adapters.scaling import Scaler
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.kinds import BUILT_IN

NAME = "hail"
TWO = {"maxReplicaCount": 2}


def document(scorers: int, **auto: object) -> dict[str, Any]:
    return {
        "deployment": NAME,
        "source": {"topic": "hail.features"},
        "model": "hail-model",
        "scale": {"scorers": scorers, "auto": {**TWO, **auto}},
    }


@dataclass
class Office:
    """The place of the controller, and a person who may be faster."""

    writer: ControlWriter
    view: FleetView
    clock: ManualClock
    is_mine: bool = True
    meanwhile: dict[str, Any] | None = None
    """What somebody makes of the document after the autoscaler has looked and before it acts."""
    asked: int = field(default=0, init=False)

    def is_elected(self) -> bool:
        self.asked += 1
        if self.asked % 2 == 0 and self.meanwhile is not None:
            self.put(self.meanwhile)
            self.meanwhile = None
        return self.is_mine

    def put(self, wanted: dict[str, Any]) -> None:
        change = Change([Put(DEPLOYMENTS_TOPIC, NAME, wanted)], "changed")
        applied = self.writer.apply(f"deployment/{NAME}", "put deployment", lambda _: change)
        self.view.wait_for_documents(applied.next_offsets[DEPLOYMENTS_TOPIC])

    def turn(self, scaler: Scaler) -> int:
        """Let it look once; the number of scorers after that."""
        self.asked = 0
        scaler.turn()
        self.clock.advance(timedelta(seconds=2))
        return self.view.desired().deployments[NAME].scale.scorers


@pytest.fixture
def office(own_broker: LocalBroker, tmp_path: Path) -> Iterator[Office]:
    kafka = own_broker.kafka
    Admin(kafka).ensure_topics([TopicSpec("hail.features", 4)])
    with Registry(kafka, Shelf.of(Settings(home=tmp_path)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="hail-model").directory)
    with (
        FleetView(kafka, {kind.name: kind for kind in BUILT_IN}) as view,
        ControlWriter(kafka, who="kay", topics=(DEPLOYMENTS_TOPIC,)) as writer,
    ):
        yield Office(writer, view, ManualClock())


def test_only_the_controller_acts_once_and_on_what_it_saw(own_broker: LocalBroker, office: Office) -> None:
    office.put(document(3))
    with Scaler(own_broker.kafka, office.view, office.is_elected, office.clock) as scaler:
        office.is_mine = False
        assert office.turn(scaler) == 3, "another daemon is the controller"
        office.is_mine = True
        office.meanwhile = document(4)
        assert office.turn(scaler) == 4, "somebody was faster: the decision about 3 is void"
        assert office.turn(scaler) == 2, "and 4 is above the bound"
        assert office.turn(scaler) == 2
        office.put(document(4, paused=True))
        assert office.turn(scaler) == 4, "what is paused is left alone"
    by_itself = [record.entry for record in read_history(own_broker.kafka) if record.entry.who == "autoscaler"]
    assert [entry.result for entry in by_itself] == [
        {
            "scale": {"scorers": 2},
            "before": 4,
            "why": "4 is outside of the bounds: minReplicaCount 1, maxReplicaCount 2, 4 partitions",
        }
    ]
