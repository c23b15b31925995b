"""Models with a transform at work: what becomes of records that it refuses or leaves out, alone and in a rollout."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from toy_models import SIGNATURE, Toy, model_scoring, records, rollout_scoring

from millrace.codec.dead_letters import read_dead_letter
from millrace.codec.reading import read_prediction
from millrace.codec.shadows import read_shadow
from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.errors import Reason
from millrace.core.profiling import build_profile
from millrace.core.rollout import RolloutMode
from millrace.serving.engine import Engine
from millrace.serving.transforming import Preparation
from millrace.testing.clock import ManualClock
from millrace.transform import Program, Transform
from millrace_scorer.logic.ports import Scored
from millrace_scorer.logic.scoring import ModelScoring

VALUES: Final[list[bytes | None]] = [*(b'{"x": %d}' % number for number in range(6)), b"{", b'{"x": 9.5}']
BINNER: Final = Binner(build_profile(FeatureColumns(SIGNATURE, (np.ones((50, 1), np.float32),))), SIGNATURE)


def transformed(scoring: ModelScoring, *steps: dict[str, Any]) -> ModelScoring:
    """The same with a transform before the model."""
    document = {
        "transform": "t",
        "input": [{"name": "x", "type": "float32"}],
        "steps": [*steps, {"step": "cast", "columns": {"x": "int64"}}, {"step": "cast", "columns": {"x": "float32"}}],
    }
    program = Program.of(Transform.parse(document, subject="t"))
    toy = Toy(ManualClock(), 0.25 if scoring.identity.version == 1 else 0.75)
    return replace(scoring, engine=Engine(toy, BINNER, Preparation(program, SIGNATURE)))


def version(number: int, *steps: dict[str, Any]) -> ModelScoring:
    return transformed(model_scoring(Toy(ManualClock(), 0.5), number), *steps)


def offsets(scored: Scored, topic: str) -> list[int]:
    read = read_shadow if topic.endswith("shadows") else read_prediction
    return [
        read(value)["source"]["offset"] for batch in scored.outputs if batch.topic == topic for value in batch.values
    ]


def test_each_record_is_predicted_refused_with_its_stage_or_left_out() -> None:
    scored = version(1, {"step": "filter", "where": "x != 2 and x != 3"}).score(records(VALUES), wall_ms=1)
    assert offsets(scored, "rain.predictions") == [0, 1, 4, 5]
    letters = [
        read_dead_letter(headers)
        for batch in scored.outputs
        if batch.topic == "rain.dlq"
        for headers in batch.headers or ()
    ]
    assert [(each.source.offset, each.stage, each.reason) for each in letters] == [
        (6, "decode", Reason.TRUNCATED),
        (7, "transform", Reason.WRONG_TYPE),
    ]
    assert letters[1].message.startswith("step 2 (cast): x has no equal in int64")
    assert (scored.tally.predicted, scored.tally.left_out, sum(scored.tally.dead_lettered.values())) == (4, 2, 2)


def test_a_batch_of_which_nothing_is_left_writes_nothing() -> None:
    scored = version(1, {"step": "filter", "where": "x < 0"}).score(records(VALUES[:4]), wall_ms=1)
    assert scored.outputs == ()
    assert (scored.tally.consumed, scored.tally.left_out) == (4, 4)


@pytest.mark.parametrize("mode", [RolloutMode.SHADOW, RolloutMode.CANARY])
def test_what_the_challengers_own_transform_leaves_out_is_the_champions(mode: RolloutMode) -> None:
    challenger = version(2, {"step": "filter", "where": "x != 1"})
    rollout = rollout_scoring(version(1), challenger, mode, share=1.0)
    scored = rollout.score(records(VALUES[:6]), wall_ms=1)
    assert offsets(scored, "rain.predictions") == [0, 1, 2, 3, 4, 5]
    assert offsets(scored, "rain.shadows") == [0, 2, 3, 4, 5]
    assert (scored.tally.shadowed, scored.tally.missed, scored.challenger_trouble) == (5, 1, None)
