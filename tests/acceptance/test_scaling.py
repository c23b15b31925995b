"""The rows of acceptance about how many scorers there may be, and who decides it.

The surge itself, S29 and S31, is in `tests/e2e/launcher/test_surge.py`, and in 200 sizes in `tests/simulation/scaling`.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from fleet_stage import PATIENCE, Stage, stage

from millrace.cli.app import run
from millrace.core.lane import Delivery
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.lane import LaneSpec, open_lane
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

PARTITIONS = 4
SERVERS = 10
MADE_MS = time.time_ns() // 1_000_000
NAME = f"hail-{uuid.uuid4().hex[:8]}"
DOCUMENT = {
    "deployment": NAME,
    "source": {"topic": "hail.features"},
    "model": "hail-model",
    # A scorer takes the whole node, so that the others are asked for and none of them starts.
    "scale": {"cores": 4},
}


@pytest.fixture
def fleet(own_broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A node of four cores with a deployment."""
    Admin(own_broker.kafka).ensure_topics([TopicSpec("hail.features", PARTITIONS)])
    home = tmp_path / "home"
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="hail-model").directory)
    monkeypatch.setenv("MILLRACE_HOME", str(home))
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", own_broker.bootstrap)
    with stage(own_broker, home) as made:
        made.start("a")
        with made.control() as control:
            control.put(NAME, DOCUMENT)
            monkeypatch.setenv("MILLRACE_LAUNCHER__URL", control.url)
        yield made


def test_s30_of_a_consumer_group_a_number_beyond_the_partitions_is_named(
    fleet: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> tuple[str, str]:
        capfd.readouterr()
        assert run(["scale", NAME, *words]) == 0
        return tuple(capfd.readouterr())  # type: ignore[return-value]

    told, remark = said(f"scorers={SERVERS}")
    assert told.strip() == f"{NAME}: scorers {SERVERS}"
    assert "bound 4: hail.features has 4 partitions, more scorers are idle" in " ".join(remark.split())
    with fleet.control() as control:
        eventually(lambda: "no node fits" in control.why(NAME)[0], within=PATIENCE, what="why the others do not start")
        assert said("--auto")[0].strip() == f"{NAME}: auto on"
        # The autoscaler knows the bound, too.
        eventually(lambda: "scorers 4, because: 10 is outside of the bounds" in control.why(NAME)[-1], within=PATIENCE)
        scaled = yaml.safe_load(said("--keda")[0])
        assert scaled["spec"]["triggers"][0]["metadata"]["consumerGroup"] == f"scorer-{NAME}"
        said("--replicas", "1")
        assert control.deployment(NAME)["document"]["scale"] == {"auto": {"paused": True}, "cores": 4.0}
        who = [(record["who"] == "autoscaler", record["result"]) for record in control.history(NAME)[1:]]
    assert [is_automatic for is_automatic, _ in who] == [False, False, True, False]
    assert run(["scale", NAME]) == 1
    assert "say one of scorers=3, --auto, --replicas 3, --keda" in " ".join(capfd.readouterr().err.split())


def test_s30_in_shared_delivery_ten_workers_of_four_partitions_all_get_records(
    broker: Broker, topic: TopicFactory
) -> None:
    source = topic("features", PARTITIONS)
    spec = LaneSpec(source, 0, source, delivery=Delivery.SHARED)
    rows = np.arange(200)
    batch = OutputBatch(
        source, (rows % PARTITIONS).astype(np.int32), np.full(200, MADE_MS), [None] * 200, [b"{}"] * 200
    )
    got = [0] * SERVERS
    with ExitStack() as stack:
        lanes = [stack.enter_context(closing(open_lane(broker.kafka, replace(spec, slot=n)))) for n in range(SERVERS)]
        writer = stack.enter_context(Writer(broker.kafka))

        def all_have_worked() -> bool:
            writer.write(batch)
            writer.flush()
            for number, lane in enumerate(lanes):
                records = lane.poll(10, timedelta(milliseconds=100)).records
                lane.write([], records.next_offsets())
                lane.commit()
                got[number] += len(records)
            return all(got)

        eventually(all_have_worked, within=PATIENCE, what=f"records for all of {SERVERS} workers")
