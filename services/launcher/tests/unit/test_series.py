"""What becomes of what processes say on /metrics."""

from dataclasses import replace

import pytest

from millrace.core.errors import Reason
from millrace.telemetry import scorer
from millrace.telemetry.metrics import Instruments
from millrace_launcher.logic.series import KEPT, Reading, Series, between, quantile, read_exposition


def test_a_scorers_own_exposition_is_read() -> None:
    said = Instruments(scorer.SCORER)
    said.add(scorer.RECORDS_PREDICTED, 90)
    said.add(scorer.RECORDS_DEAD_LETTERED, 2, reason=Reason.MISSING_FIELD)
    said.add(scorer.RECORDS_DEAD_LETTERED, 1, reason=Reason.NOT_FINITE)
    said.set(scorer.CONSUMER_LAG, 7)
    said.observe(scorer.END_TO_END_LATENCY, [0.004, 0.04, 0.04, 700])
    found = read_exposition(said.exposition().decode(), launch=3, at_ms=5)
    assert (found.launch, found.at_ms, found.done, found.dead_letters, found.lag) == (3, 5, 90, 3, 7)
    assert (found.latency[0.005], found.latency[0.05], found.latency[float("inf")]) == (1, 3, 4)
    assert found.memory_bytes
    assert found.cpu_secs is not None


def test_what_is_no_exposition_tells_nothing() -> None:
    assert read_exposition("<html>\nnot a number at all\n", launch=1, at_ms=5) == Reading(1, 5)


def test_rates_and_latencies_are_those_of_the_time_between() -> None:
    before = Reading(1, 1_000, done=100, latency={0.1: 100, 0.2: 100, float("inf"): 100}, cpu_secs=1.0)
    after = Reading(1, 3_000, done=150, lag=4, latency={0.1: 100, 0.2: 150, float("inf"): 150}, cpu_secs=2.0)
    point = between(before, after)
    assert (point.done_rate, point.lag, point.cores) == (25, 4, 0.5)
    assert point.p50_ms == pytest.approx(150)
    assert point.p99_ms == pytest.approx(199)


def test_without_records_there_is_no_latency() -> None:
    quiet = Reading(1, 1_000, latency={0.1: 5, float("inf"): 5})
    assert between(quiet, replace(quiet, at_ms=2_000)).p99_ms is None
    assert quantile({}, 0.5) is None


def test_what_lies_beyond_the_last_bound_counts_as_that() -> None:
    assert quantile({1.0: 0, float("inf"): 10}, 0.99) == 1.0


def test_another_process_of_the_slot_begins_anew() -> None:
    series = Series()
    for reading in (
        Reading(1, 0, done=0),
        Reading(1, 1_000, done=10),
        Reading(2, 2_000, done=3),
        Reading(2, 3_000, done=5),
    ):
        series.take(reading)
    assert series.columns()["done_rate"] == [10, 2]


def test_an_hour_is_kept_and_no_more() -> None:
    series = Series()
    for second in range(KEPT + 10):
        series.take(Reading(1, second * 5_000, done=second))
    columns = series.columns()
    assert {len(values) for values in columns.values()} == {KEPT}
    assert columns["at_ms"][-1] == (KEPT + 9) * 5_000
