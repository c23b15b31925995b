"""Five times as many records as one slow scorer can take: more scorers come, the goal is met again, and they go."""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_stage import PATIENCE, Stage, stage, workers

from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.process.settings import Settings
from millrace.serving.export import Origin, export_function
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.waiting import eventually
from tests.e2e.launcher.stream import Feed, Follower, beside, never_too_many, verdict

PARTITIONS = 4
NAME = f"slow-{uuid.uuid4().hex[:8]}"
GOAL_MS = 1_500
BASE = 60.0
MODEL = """
import time

def score(features):
    # A model that waits for something: cores do not matter, and more scorers help.
    time.sleep(0.007 * len(features["a"]))
    return features["a"] * 0.0
"""
DOCUMENT = {
    "deployment": NAME,
    "source": {"topic": "slow.features"},
    "model": "slow-model",
    "slo": {"latency_ms": GOAL_MS},
    "batch": {"max_records": 50, "transaction_records": 50},
    "runtime": {"python_functions": True},
    "scale": {"cores": 0.1, "auto": {"pollingInterval": 1, "cooldownPeriod": 8}},
}

Say = Callable[[str], None]


@pytest.fixture
def fleet(own_broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage with a slow model that is installed where scorers run."""
    (tmp_path / "slow_rules.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    Admin(own_broker.kafka).ensure_topics([TopicSpec("slow.features", PARTITIONS)])
    home = tmp_path / "home"
    sample = {name: np.linspace(0, 1, 10) for name in "abc"}
    bundle = export_function(
        "slow_rules:score",
        sample,
        origin=Origin("slow-model", datetime(2026, 1, 1, tzinfo=UTC)),
        directory=tmp_path / "bundle",
    )
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(bundle.directory)
    with stage(own_broker, home) as made:
        yield made


def desired(fleet: Stage) -> int:
    with fleet.control() as control:
        return int(control.deployment(NAME)["document"].get("scale", {}).get("scorers", 1))


def steps(fleet: Stage) -> list[dict[str, Any]]:
    """What the autoscaler did, as the history tells it."""
    with fleet.control() as control:
        return [record for record in control.history(NAME) if record["who"] == "autoscaler"]


def test_scorers_come_with_a_surge_and_go_after_it(fleet: Stage, say: Say) -> None:
    fleet.start("a")
    with fleet.control() as control:
        control.put(NAME, DOCUMENT)
    fleet.await_ready(NAME, 1)
    feed = Feed(fleet.broker, "slow.features", PARTITIONS, rate=BASE)
    follower = Follower(fleet.broker, f"{NAME}.predictions")

    def is_met() -> bool:
        oldest = follower.oldest()
        return oldest is not None and oldest <= GOAL_MS / 1000

    with never_too_many(NAME, lambda: PARTITIONS), beside(follower.follow):
        with beside(feed.send):
            eventually(lambda: follower.seen >= 3 * BASE and is_met(), within=PATIENCE, what="a calm beginning")
            feed.rate, begun = 5 * BASE, time.monotonic()
            eventually(lambda: not is_met(), within=PATIENCE, what="the goal missed")
            missed = time.monotonic()
            eventually(lambda: desired(fleet) > 1, within=PATIENCE, what="more scorers")
            say(f"more scorers are asked for {time.monotonic() - begun:.1f} s after the surge began")
            eventually(is_met, within=PATIENCE, what="the goal met again")
            say(f"the goal was missed for {time.monotonic() - missed:.1f} s")
            feed.rate, most = BASE, desired(fleet)
            eventually(lambda: desired(fleet) < most, within=PATIENCE, what="fewer scorers")
            say(f"from {most} scorers back to {desired(fleet)}")
        eventually(lambda: workers(NAME) == [0], within=PATIENCE, what="one scorer again")
    total = verdict(fleet.broker, "slow.features", NAME)
    say(f"{total} records, each scored once")
    check_history(fleet)


def check_history(fleet: Stage) -> None:
    """Up, then down; each step with the latency that caused it, and whoever asks why is told."""
    told = steps(fleet)
    counts = [1, *(record["result"]["scale"]["scorers"] for record in told)]
    ways = [later > earlier for earlier, later in pairwise(counts)]
    assert ways == sorted(ways, reverse=True), f"more than one reversal: {counts}"
    assert (ways[0], ways[-1]) == (True, False), counts
    assert max(counts) <= PARTITIONS
    assert all("latency" in record["result"]["why"] for record in told)
    with fleet.control() as control:
        assert "by autoscaler: scorers 1, because: " in control.why(NAME)[-1]
        assert control.verification()["whole"]
