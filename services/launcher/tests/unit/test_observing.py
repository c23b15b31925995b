"""What the autoscaler is shown, and what its changes look like."""

from datetime import timedelta

import pytest

from millrace.core.control.fleet import (
    Assignment,
    Fleet,
    Inventory,
    Latencies,
    Node,
    Order,
    Process,
    ProcessState,
    Slot,
    Standing,
)
from millrace.core.cost import LatencyCurve
from millrace.kafka.history import HistoryEntry
from millrace.process.deployment import Deployment
from millrace.telemetry.metrics import Instruments
from millrace.telemetry.scorer import END_TO_END_LATENCY, LATENCY_BUCKETS, SCORER
from millrace_launcher.logic.observing import capacity_of, counts_of, latency_between, latency_counts, observe
from millrace_launcher.logic.scaling import last_scaling, rescaled

FIRST, SECOND = Slot("rain", "scorer", 0), Slot("rain", "scorer", 1)
RAIN = Deployment.parse(
    {"deployment": "rain", "source": {"topic": "t"}, "model": "m", "scale": {"scorers": 2}}, subject="test"
)


def counts(*latencies: float) -> tuple[int, ...]:
    """The histogram of some latencies, in seconds."""
    return (*(sum(each <= bound for each in latencies) for bound in LATENCY_BUCKETS), len(latencies))


class TestLatency:
    def test_a_scorers_own_words_are_understood(self) -> None:
        instruments = Instruments(SCORER, constants={"deployment": "rain"})
        instruments.observe(END_TO_END_LATENCY, 0.03)
        instruments.observe(END_TO_END_LATENCY, 70)
        assert latency_counts(instruments.exposition().decode()) == counts(0.03, 70)
        assert latency_counts("") == ()

    def test_only_what_came_since_counts(self) -> None:
        before = {(FIRST, 1): counts(*[9.0] * 1000)}
        after = {(FIRST, 1): counts(*[9.0] * 1000, *[0.15] * 100)}
        found = latency_between(before, after, 0.99)
        assert found is not None
        assert timedelta(seconds=0.1) < found <= timedelta(seconds=0.2)
        assert latency_between(after, after, 0.99) is None

    def test_a_new_launch_begins_from_nothing_and_a_gone_one_says_nothing(self) -> None:
        before = {(FIRST, 1): counts(*[9.0] * 1000)}
        after = {(FIRST, 2): counts(*[0.004] * 10)}
        found = latency_between(before, after, 0.5)
        assert found is not None
        assert found <= timedelta(seconds=0.005)

    def test_beyond_the_last_bound_it_is_that_bound(self) -> None:
        assert latency_between({}, {(FIRST, 1): counts(*[900.0] * 10)}, 0.99) == timedelta(seconds=60)

    def test_of_all_that_is_said_one_deployment_is_taken(self) -> None:
        other = Slot("snow", "scorer", 0)
        said = [Latencies(FIRST, 1, (1,)), Latencies(other, 1, (2,))]
        assert counts_of(said, "rain") == {(FIRST, 1): (1,)}


class TestCapacity:
    def curve(self, seconds: float) -> dict[str, object]:
        score = LatencyCurve()
        for _ in range(50):
            score.observe(RAIN.batch.max_records, timedelta(seconds=seconds))
        return {"score": score.to_dict(), "commit": {}}

    def test_it_follows_from_the_curve_of_the_device_that_is_asked_for(self) -> None:
        found = capacity_of(RAIN, {"cpu": self.curve(2.0), "cuda": self.curve(0.1)})
        assert found == pytest.approx(RAIN.batch.max_records / 2.0, rel=0.25)

    def test_without_that_the_slowest_counts(self) -> None:
        found = capacity_of(RAIN, {"python": self.curve(4.0), "cuda": self.curve(0.1)})
        assert found == pytest.approx(RAIN.batch.max_records / 4.0, rel=0.25)

    def test_without_any_it_is_not_known(self) -> None:
        assert capacity_of(RAIN, {}) is None
        assert capacity_of(RAIN, {"cpu": {}}) is None


def test_a_scorer_counts_while_it_is_ready_on_a_node_that_is_not_lost() -> None:
    def fleet(standing: Standing, state: ProcessState) -> Fleet:
        slots = {slot: Assignment(slot, Order.RUN, launch=1, node="a") for slot in (FIRST, SECOND)}
        processes = {(slot, "a"): Process(slot, "a", 1, ProcessState.READY) for slot in slots}
        processes[SECOND, "a"] = Process(SECOND, "a", 1, state)
        return Fleet((), slots, processes, {"a": Node("a", standing, Inventory(2, 2))})

    def ready(of: Fleet) -> int:
        found = observe(RAIN, of, committed=[1, 2], ends=[4, 4], latency=None, capacity=None, at_ms=5)
        assert (found.desired, found.lag, found.lags) == (2, 5, (3, 2))
        return found.ready

    assert ready(fleet(Standing.UP, ProcessState.READY)) == 2
    assert ready(fleet(Standing.UP, ProcessState.STARTING)) == 1
    assert ready(fleet(Standing.LOST, ProcessState.READY)) == 0


class TestDocument:
    def test_automatic_scaling_is_turned_on_and_keeps_what_it_was_told(self) -> None:
        assert rescaled({"deployment": "rain"}, {"auto": True}) == {"deployment": "rain", "scale": {"auto": {}}}
        paused = {"scale": {"auto": {"paused": True, "maxReplicaCount": 4}}}
        assert rescaled(paused, {"auto": True}) == {"scale": {"auto": {"maxReplicaCount": 4}}}

    def test_turned_off_it_is_paused(self) -> None:
        known = {"scale": {"scorers": 7, "auto": {"maxReplicaCount": 4}}}
        wanted = {"scale": {"scorers": 2, "auto": {"maxReplicaCount": 4, "paused": True}}}
        assert rescaled(known, {"auto": False, "scorers": 2}) == wanted
        assert rescaled({}, {"auto": False, "scorers": 2}) == {"scale": {"scorers": 2}}

    def test_a_number_alone_changes_nothing_else(self) -> None:
        assert rescaled({"scale": {"auto": {}, "cores": 2}}, {"scorers": 3}) == {
            "scale": {"auto": {}, "cores": 2, "scorers": 3}
        }


def test_the_last_step_is_told_with_its_reason() -> None:
    def entry(what: str, result: object, **changed: object) -> HistoryEntry:
        after = {"millrace.deployments": {"rain": changed}}
        return HistoryEntry("deployment/rain", "1", 1_763_868_000_000, "autoscaler", what, {}, after, result)

    steps = [
        entry("scale deployment", {"scale": {"scorers": 2}, "why": "first"}),
        entry("scale deployment", {"scale": {"scorers": 4}, "why": "p99 latency 1.5 s, the goal 200 ms"}),
        entry("put deployment", "changed"),
    ]
    assert last_scaling(steps, "rain") == [
        "scaled at 2025-11-23 03:20:00 UTC by autoscaler: scorers 4, because: p99 latency 1.5 s, the goal 200 ms"
    ]
    assert last_scaling(steps, "snow") == []
    assert last_scaling(steps[2:], "rain") == []
