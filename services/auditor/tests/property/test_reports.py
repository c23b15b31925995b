"""Bar 4, by values: whatever order, shards, turns, kills and replays, the same reports to the byte, the same requests.

What a report says of its inputs names partitions and offsets, and these are the arrival itself: under another order or
another number of partitions everything else is equal to the byte. Under kills and replays of one log, all of it is.
"""

import json
from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest
from audit_pipeline import Pipeline, Record, history
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.codec.audit_records import VersionBlock
from millrace.core.audit.partition import Refused
from millrace.core.audit.windows import Stage, Window, WindowSpec
from millrace_auditor.logic.partition import LayoutOf, PartitionState

SEEDS = st.integers(0, 3)
RANDOM = st.randoms(use_true_random=False)
TURNS_MS = st.sampled_from([5_000, 20_000, 45_000])
KILLS = st.dictionaries(st.integers(0, 60), st.sampled_from(["join", "judge"]), max_size=5)


@cache
def arrivals(seed: int) -> tuple[Record, ...]:
    return tuple(history(seed))


@cache
def calm(seed: int) -> Pipeline:
    return Pipeline(1).run(arrivals(seed), Random(0), turn_ms=10_000, batch=100, kills=None)


def without_inputs(reports: dict[str, bytes]) -> dict[str, bytes]:
    documents = {key: json.loads(value) for key, value in reports.items()}
    return {key: json.dumps({**each, "inputs": None}, sort_keys=True).encode() for key, each in documents.items()}


def test_the_history_is_worth_it() -> None:
    """It has reports of segments, alerts, and a request for each model that fell."""
    for seed in range(4):
        found = calm(seed)
        assert len(found.requests()) == 1
        assert len(found.alerts()) >= 2
        reports = [json.loads(value) for value in found.mature().values()]
        assert {each["segment"] for each in reports} == {"*", "income=0..1", "income=1..2"}
        for count in ("duplicates", "corrections", "expired_unlabelled"):
            assert sum(each["counts"][count] for each in reports) > 10
        answered = Pipeline(1, answer_after=0)
        answered.run(arrivals(seed), Random(0), turn_ms=10_000, batch=100, kills=None)
        assert len(answered.requests()) >= 3


@settings(max_examples=12, deadline=None)
@given(SEEDS, RANDOM, st.sampled_from([1, 2, 8]), TURNS_MS, KILLS)
def test_bar_4_order_partitions_turns_and_kills_do_not_matter(
    seed: int, random: Random, partitions: int, turn_ms: int, kills: dict[int, str]
) -> None:
    batch = random.randint(1, 50)
    found = Pipeline(partitions).run(arrivals(seed), random, turn_ms=turn_ms, batch=batch, kills=kills)
    assert without_inputs(found.mature()) == without_inputs(calm(seed).mature())
    assert found.requests() == calm(seed).requests()
    assert sorted(found.alerts()) == sorted(calm(seed).alerts())


@settings(max_examples=8, deadline=None)
@given(SEEDS, st.integers(0, 100), st.sampled_from([1, 2, 8]), TURNS_MS, KILLS)
def test_bar_4_kills_leave_every_byte(
    seed: int, order: int, partitions: int, turn_ms: int, kills: dict[int, str]
) -> None:
    def run(kills: dict[int, str] | None) -> Pipeline:
        return Pipeline(partitions).run(arrivals(seed), Random(order), turn_ms=turn_ms, batch=20, kills=kills)

    killed, untouched = run(kills), run(None)
    assert killed.mature() == untouched.mature()
    assert killed.requests() == untouched.requests()
    assert killed.alerts() == untouched.alerts()


@settings(max_examples=8, deadline=None)
@given(SEEDS, RANDOM, st.sampled_from([1, 8]), TURNS_MS, st.integers(0, 40))
def test_bar_4_a_replay_with_answers_makes_every_request_once(
    seed: int, random: Random, partitions: int, turn_ms: int, answer_after: int
) -> None:
    """The answers come by the clock, whenever that is: a replay with their notes decides the same."""
    live = Pipeline(partitions, answer_after=answer_after)
    live.run(arrivals(seed), random, turn_ms=turn_ms, batch=30, kills=None)
    again = live.judged_again()
    assert len(set(live.requests())) == len(live.requests()) >= 1
    assert again.requests() == live.requests()
    assert again.alerts() == live.alerts()
    assert again.mature() == live.mature()


def check_another_arrival() -> None:
    """Bar 4 once: the same records in other turns, another order and two partitions."""
    one = Pipeline(1).run(arrivals(0), Random(0), turn_ms=10_000, batch=100, kills=None)
    other = Pipeline(2).run(arrivals(0), Random(1), turn_ms=45_000, batch=7, kills=None)
    assert without_inputs(other.mature()) == without_inputs(one.mature())


def test_bar_17_arrival_time_for_event_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    add_predictions = PartitionState.add_predictions

    def by_arrival(state: PartitionState, version: int, block: VersionBlock, layout_of: LayoutOf) -> Refused:
        columns = block.columns
        now = np.full_like(columns.event_times_ms, max(state.position.newest_event_ms, columns.event_times_ms.max()))
        return add_predictions(state, version, replace(block, columns=replace(columns, event_times_ms=now)), layout_of)

    check_another_arrival()
    monkeypatch.setattr(PartitionState, "add_predictions", by_arrival)
    with pytest.raises(AssertionError):
        check_another_arrival()


def test_bar_17_closed_for_mature_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = WindowSpec.stage

    def too_early(spec: WindowSpec, window: Window, watermark_ms: int) -> Stage:
        reached = stage(spec, window, watermark_ms)
        return Stage.MATURE if reached is Stage.CLOSED else reached

    monkeypatch.setattr(WindowSpec, "stage", too_early)
    with pytest.raises(AssertionError):
        check_another_arrival()
