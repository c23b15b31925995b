"""Whether a goal can be reached, from curves as scorers store them."""

from datetime import timedelta

from millrace.core.cost import LatencyCurve
from millrace.process.deployment import Deployment
from millrace_launcher.logic.reach import out_of_reach


def curve(*millis: float) -> dict[str, object]:
    learned = LatencyCurve()
    for each in millis:
        learned.observe(1, timedelta(milliseconds=each))
    return learned.to_dict()


def deployment(goal_ms: int) -> Deployment:
    return Deployment.parse(
        {
            "deployment": "rain",
            "source": {"topic": "rain.features"},
            "model": "rain",
            "slo": {"latency_ms": goal_ms},
            "batch": {"transaction_ms": 1, "max_wait_ms": 1},
        },
        subject="test",
    )


def test_a_goal_below_what_one_record_costs_is_out_of_reach() -> None:
    slow = {"cpu": {"score": curve(40.0), "commit": curve(10.0)}}
    assert "slo.latency_ms 20 is out of reach: one record alone takes" in out_of_reach(deployment(20), slow)
    assert out_of_reach(deployment(200), slow) == ""


def test_the_fastest_device_counts_and_one_slow_moment_does_not() -> None:
    slow, fast = {"score": curve(40.0)}, {"score": curve(1.0, 1.0, 500.0)}
    assert out_of_reach(deployment(20), {"cpu": slow, "cuda": fast}) == ""


def test_what_was_never_scored_may_be_as_fast_as_it_likes() -> None:
    assert out_of_reach(deployment(2), {}) == ""
    assert out_of_reach(deployment(2), {"cpu": {}}) == ""
