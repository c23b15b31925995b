"""Bars 6 and 18: SEA through the whole system, with a model that is frozen, and with a loop that nobody attends."""

import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sea_stream import Sea, right

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


def accuracies(reports: list[dict[str, Any]]) -> list[tuple[float, int]]:
    """Accuracy and labelled events of each mature window, in the order of time."""
    ordered = sorted(reports, key=lambda each: each["window"]["start"])
    return [(each["performance"]["accuracy"]["value"], each["counts"]["labelled"]) for each in ordered]


def test_bar_6_a_frozen_model_falls_as_it_must_and_every_change_alarms(sea: MakeSea) -> None:
    stream = sea(window_events=200)
    thresholds = [each for each in (8.0, 9.0, 8.0, 7.0, 8.0, 9.5) for _ in range(4)]
    with stream.running():
        stream.send(thresholds)
        stream.let_time_pass()
        reports = stream.audited.wait_for("mature", len(thresholds), within=timedelta(seconds=60))
    for (value, n), threshold in zip(accuracies(reports), thresholds, strict=True):
        truth = right(threshold)
        assert n == 200
        assert abs(value - truth) <= 3 * math.sqrt(truth * (1 - truth) / n)
    raised = [
        (alert["windows"][0], alert["metric"])
        for alert in stream.audited.alerts()
        if (alert["signal"], alert["state"]) == ("performance", "raised")
    ]
    starts = sorted(report["window"]["start"] for report in reports)
    assert raised == [(starts[number], "error_rate") for number in (4, 12, 20)]


def test_bar_18_a_worse_candidate_is_refused_and_a_better_one_brings_accuracy_back(sea: MakeSea) -> None:
    stream = sea(window_events=500, cooldown_secs=1000)
    steps = stream.audited.steps
    with stream.running("functions:guess"):
        stream.send([8.0] * 2 + [9.5] * 2)
        stream.let_time_pass()
        eventually(lambda: steps()[-1:] == ["noted"], within=timedelta(seconds=90), what="the end of the first loop")
    with stream.running("functions:fit"):
        stream.send([9.5] * 2)
        stream.let_time_pass()
        eventually(lambda: steps().count("noted") == 2, within=timedelta(seconds=90), what="the end of the second loop")
        stream.send([9.5] * 3)
        stream.let_time_pass()
        stream.audited.wait_for("mature", 12, within=timedelta(seconds=60))
    taken = ["requested", "accepted", "completed"]
    assert steps() == [*taken, "refused", "noted", *taken, "promoted", "noted"]
    loops = [each["loop_id"] for each in stream.audited.requests()]
    assert loops == [loops[0]] * 5 + [loops[5]] * 5
    assert stream.loop.champion() == 2
    reports = [each for each in stream.audited.reports("mature") if each["counts"]["labelled"]]
    before = accuracies([each for each in reports if each["version"] == 1])
    after = accuracies([each for each in reports if each["version"] == 2])
    assert [value for value, _ in before[:2]] == [1.0, 1.0]
    assert min(value for value, _ in before[2:4]) < 0.91
    assert min(value for value, _ in after) >= 0.95 * before[0][0]
    assert {each["signal"] for each in stream.audited.alerts()} == {"performance"}


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
