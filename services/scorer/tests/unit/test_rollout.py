"""A champion and a challenger on the same records."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from toy_models import ALLOWANCE, Toy, model_scoring, records, rollout_scoring

from millrace.codec.reading import PredictionDocument, read_prediction
from millrace.codec.shadows import ShadowDocument, read_shadow
from millrace.core.records import OutputBatch, RecordBatch
from millrace.core.rollout import RolloutMode, draw, salt_of
from millrace.testing.clock import ManualClock
from millrace_scorer.logic.ports import Scored
from millrace_scorer.logic.rollout import RolloutScoring

BOTH = [RolloutMode.SHADOW, RolloutMode.CANARY]
VALUES: list[bytes | None] = [b'{"x": %d}' % number for number in range(200)]


class Pair:
    """Version 1 answers 0.25 to everything, version 2 answers 0.75."""

    def __init__(self, mode: RolloutMode, *, share: float = 0.3, reads_alike: bool = True) -> None:
        self.clock = ManualClock()
        self.champion, self.challenger = Toy(self.clock, 0.25), Toy(self.clock, 0.75)
        self.scoring: RolloutScoring = rollout_scoring(
            model_scoring(self.champion, 1),
            model_scoring(self.challenger, 2),
            mode,
            share=share,
            reads_alike=reads_alike,
        )

    def score(self, values: Sequence[bytes | None] = VALUES) -> Scored:
        return self.scoring.score(records(values), wall_ms=5_000)


def outputs(scored: Scored, topic: str) -> OutputBatch | None:
    found = [batch for batch in scored.outputs if batch.topic == topic]
    return found[0] if found else None


def predictions(scored: Scored) -> list[PredictionDocument]:
    batch = outputs(scored, "rain.predictions")
    return [read_prediction(value) for value in batch.values] if batch else []


def shadows(scored: Scored) -> list[ShadowDocument]:
    batch = outputs(scored, "rain.shadows")
    return [read_shadow(value) for value in batch.values] if batch else []


def alone(values: Sequence[bytes | None] = VALUES) -> Scored:
    """What the champion makes of it without a rollout."""
    return model_scoring(Toy(ManualClock(), 0.25), 1).score(records(values), wall_ms=5_000)


def drawn(batch: RecordBatch, share: float = 0.3) -> list[int]:
    return np.flatnonzero(draw(batch, share=share, salt=salt_of("rain", 2))).tolist()


@pytest.mark.parametrize("reads_alike", [True, False])
def test_a_shadow_changes_no_prediction_and_says_beside_each_what_it_would_have_said(reads_alike: bool) -> None:
    scored = Pair(RolloutMode.SHADOW, reads_alike=reads_alike).score()
    assert predictions(scored) == predictions(alone())
    found = shadows(scored)
    assert [each["source"]["offset"] for each in found] == list(range(200))
    assert {(each["version"], each["beside"]["version"], each["rollout"]) for each in found} == {(2, 1, "shadow")}
    assert {(each["outputs"]["label"], each["beside"]["outputs"]["label"]) for each in found} == {("yes", "no")}
    assert (scored.tally.predicted, scored.tally.shadowed, scored.tally.canary) == (200, 200, 0)


@pytest.mark.parametrize("reads_alike", [True, False])
def test_a_canary_answers_the_drawn_keys_and_the_champion_is_written_beside(reads_alike: bool) -> None:
    scored = Pair(RolloutMode.CANARY, reads_alike=reads_alike).score()
    chosen = drawn(records(VALUES))
    assert 20 < len(chosen) < 100
    found = predictions(scored)
    assert [each["source"]["offset"] for each in found] == list(range(200))
    assert [each["source"]["offset"] for each in found if each["version"] == 2] == chosen
    assert {(each["version"], each["outputs"]["label"]) for each in found} == {(1, "no"), (2, "yes")}
    beside = shadows(scored)
    assert [each["source"]["offset"] for each in beside] == chosen
    assert {(each["version"], each["beside"]["version"], each["rollout"]) for each in beside} == {(1, 2, "canary")}
    assert {(each["outputs"]["label"], each["beside"]["outputs"]["label"]) for each in beside} == {("no", "yes")}
    assert (scored.tally.predicted, scored.tally.canary, scored.tally.shadowed) == (200, len(chosen), len(chosen))


def test_a_canary_asks_the_challenger_for_its_share_alone() -> None:
    pair = Pair(RolloutMode.CANARY)
    pair.score()
    assert pair.challenger.calls == [len(drawn(records(VALUES)))]


@pytest.mark.parametrize("mode", BOTH)
def test_outputs_lie_beside_their_inputs(mode: RolloutMode) -> None:
    scored = Pair(mode).score()
    batch = records(VALUES)
    for output in scored.outputs:
        documents = [read_prediction(value) for value in output.values]
        rows = [document["source"]["offset"] for document in documents]
        assert list(output.keys) == [batch.keys[row] for row in rows]
        assert output.timestamps_ms.tolist() == batch.timestamps_ms[rows].tolist()


@pytest.mark.parametrize("mode", BOTH)
def test_a_challenger_that_fails_hurts_nobody(mode: RolloutMode) -> None:
    pair = Pair(mode)
    pair.challenger.is_broken = True
    scored = pair.score()
    assert predictions(scored) == predictions(alone())
    assert shadows(scored) == []
    wanted = 200 if mode is RolloutMode.SHADOW else len(drawn(records(VALUES)))
    assert (scored.tally.predicted, scored.tally.missed, scored.tally.canary) == (200, wanted, 0)
    assert "broken" in (scored.challenger_trouble or "")


@pytest.mark.parametrize("mode", BOTH)
def test_a_challenger_that_refuses_a_record_is_not_asked_for_each_of_them(mode: RolloutMode) -> None:
    pair = Pair(mode, share=1.0)
    pair.challenger.refuses = 17.0
    scored = pair.score()
    assert predictions(scored) == predictions(alone())
    assert len(pair.challenger.calls) == 1


@pytest.mark.parametrize("mode", BOTH)
def test_what_the_champion_refuses_is_a_dead_letter_as_without_a_rollout(mode: RolloutMode) -> None:
    values: list[bytes | None] = [b'{"x": 1}', b"bad", b'{"x": 2}', None, b'{"x": 3}']
    pair = Pair(mode, share=1.0)
    pair.champion.refuses = 2.0
    scored = pair.score(values)
    assert [each["source"]["offset"] for each in predictions(scored)] == [0, 4]
    assert [each["source"]["offset"] for each in shadows(scored)] == [0, 4]
    assert sum(scored.tally.dead_lettered.values()) == 3


def test_a_slow_challenger_costs_a_tenth_of_the_time_at_most() -> None:
    pair = Pair(RolloutMode.SHADOW)
    pair.challenger.takes = 5 * ALLOWANCE
    spent, began = timedelta(0), pair.clock.monotonic()
    for _ in range(400):
        before = len(pair.challenger.calls)
        pair.score()
        spent += pair.challenger.takes * (len(pair.challenger.calls) - before)
        pair.clock.advance(timedelta(milliseconds=50))
    assert pair.challenger.calls
    assert spent.total_seconds() <= 0.1 * (pair.clock.monotonic() - began) + pair.challenger.takes.total_seconds()


def test_a_challenger_that_is_well_again_is_asked_again() -> None:
    pair = Pair(RolloutMode.SHADOW)
    pair.challenger.is_broken = True
    pair.score()
    pair.challenger.is_broken = False
    assert pair.score().tally.missed == 200
    pair.clock.advance(timedelta(seconds=2))
    scored = pair.score()
    assert (scored.tally.missed, scored.tally.shadowed, scored.challenger_trouble) == (0, 200, None)


def test_no_record_at_all_is_no_trouble() -> None:
    scored = Pair(RolloutMode.CANARY, share=1.0).score([b"bad"])
    assert scored.tally.predicted == scored.tally.missed == 0
    assert scored.challenger_trouble is None
