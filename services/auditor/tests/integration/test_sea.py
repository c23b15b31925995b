"""Bars 6 and 18: SEA through the whole system, with a model that is frozen, and with a loop that nobody attends."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sea_runs import run_frozen, run_unattended
from sea_stream import Sea

from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

MakeSea = Callable[..., Sea]


@pytest.fixture
def sea(broker: Broker, tmp_path: Path) -> MakeSea:
    def make(window_events: int, **audit: Any) -> Sea:  # noqa: ANN401
        made = Sea(broker, Settings(home=tmp_path / "home"), f"s-{uuid.uuid4().hex[:10]}", window_events, audit)
        made.push(tmp_path / "frozen")
        return made

    return make


def test_bar_6_a_frozen_model_falls_as_it_must_and_every_change_alarms(sea: MakeSea) -> None:
    found = run_frozen(sea(window_events=200), windows_each=4)
    assert found.worst_se <= 3
    assert found.raised == [4, 12, 20]


def test_bar_18_a_worse_candidate_is_refused_and_a_better_one_brings_accuracy_back(sea: MakeSea) -> None:
    found = run_unattended(sea(window_events=500, cooldown_secs=1000))
    taken = ["requested", "accepted", "completed"]
    assert found.steps == [*taken, "refused", "noted", *taken, "promoted", "noted"]
    assert found.loops == [found.loops[0]] * 5 + [found.loops[5]] * 5
    assert found.champion == 2
    assert found.before == [1.0, 1.0]
    assert min(found.fallen) < 0.91
    assert min(found.after) >= 0.95 * min(found.before)
    assert found.signals == {"performance"}


def test_volume_and_schedule_ask_a_real_trainer_although_nothing_is_wrong(sea: MakeSea) -> None:
    stream = sea(window_events=400, retrain_after_labels=1200, retrain_every_secs=3000)
    steps = stream.audited.steps
    with stream.running("functions:fit"):
        stream.send([8.0] * 3)
        stream.let_time_pass()
        eventually(lambda: steps()[-1:] == ["noted"], within=timedelta(seconds=90), what="the loop of the volume")
        stream.send([8.0] * 2)
        for _ in range(4):
            stream.let_time_pass()
        eventually(lambda: steps().count("noted") == 2, within=timedelta(seconds=90), what="the loop of the schedule")
    requests = [each for each in stream.audited.requests() if each["type"] == "retrain.requested.v1"]
    assert [each["reason"] for each in requests] == ["volume", "schedule"]
    assert requests[0]["data"]["labelled"] == 1200
    assert stream.audited.alerts() == []
