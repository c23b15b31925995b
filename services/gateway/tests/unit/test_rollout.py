"""Two versions on the same requests: who answers, what stands beside it, and what a bad challenger costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode, draw, salt_of
from millrace.serving.engine import Engine
from millrace.testing.clock import ManualClock
from millrace.testing.models import linear_signature
from millrace.testing.records import record_batch
from millrace_gateway.logic.rollout import RolloutScoring, Terms
from millrace_gateway.logic.scoring import ModelScoring, Part, Scored

SHARE = 0.3


@dataclass(frozen=True)
class Asked:
    """A request."""

    columns: FeatureColumns
    event_id: str
    key: str | None


def asked(number: int, *first: float, key: str | None = None) -> Asked:
    values = np.array([[each, 1, 2] for each in first], np.float32)
    return Asked(FeatureColumns(linear_signature(), (values,)), f"r{number}", key)


@dataclass
class Adding:
    """A model that adds its number to the first feature. It refuses a batch with any of some values."""

    number: int
    refuses: frozenset[float] = frozenset()
    batches: list[int] = field(default_factory=list)

    def infer(self, columns: FeatureColumns) -> Outputs:
        first = columns.column("a")
        self.batches.append(len(first))
        if self.refuses & set(first.tolist()):
            raise InvalidRecordError(Reason.MODEL_ERROR, "unlucky")
        scores = first.astype(np.float32) + np.float32(1000 * self.number)
        return Outputs(scores.reshape(-1, 1), None)


@dataclass
class Told:
    """What was said of the challenger."""

    paired: int = 0
    missed: int = 0
    troubles: list[str] = field(default_factory=list)

    def __call__(self, *, paired: int, missed: int, trouble: str | None) -> None:
        self.paired += paired
        self.missed += missed
        self.troubles += [trouble] if trouble else []


@dataclass
class Stage:
    """Two versions at work."""

    mode: RolloutMode
    champion: Adding = field(default_factory=lambda: Adding(1))
    challenger: Adding = field(default_factory=lambda: Adding(2))
    clock: ManualClock = field(default_factory=ManualClock)
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        first, second = ModelScoring(1, Engine(self.champion)), ModelScoring(2, Engine(self.challenger))
        rest = Rest(self.clock, timedelta(seconds=1))
        terms = Terms("rain", self.mode, SHARE)
        self.scoring = RolloutScoring(first, second, None, terms, rest, self.clock, self.told)

    def score(self, requests: Sequence[Asked]) -> Scored:
        return self.scoring.score(requests)


def answers(scored: Scored) -> dict[int, tuple[int, list[float]]]:
    """By request: the version that answers, and what."""
    found = {}
    for part in scored.parts:
        rows = iter(part.outputs.scores.ravel().tolist())
        for number, size in zip(part.requests, part.sizes, strict=True):
            found[number] = part.version, [next(rows) for _ in range(size)]
    return found


def of_version(scored: Scored, version: int) -> Part:
    [part] = [part for part in scored.parts if part.version == version]
    return part


def test_s47_a_canary_answers_the_requests_whose_key_scorers_would_draw_each_whole() -> None:
    requests = [asked(number, number, number + 0.5, key=f"key-{number % 50}") for number in range(200)]
    stage = Stage(RolloutMode.CANARY)
    found = answers(stage.score(requests))
    drawn = draw(
        record_batch([b""] * 200, keys=[(request.key or "").encode() for request in requests]),
        share=SHARE,
        salt=salt_of("rain", 2),
    )
    assert 20 < drawn.sum() < 120
    assert {number: version for number, (version, _) in found.items()} == {
        number: 2 if is_drawn else 1 for number, is_drawn in enumerate(drawn.tolist())
    }
    for number, (version, values) in found.items():
        assert values == [1000 * version + number, 1000 * version + number + 0.5]


def test_what_the_other_version_says_stands_beside_each_answer() -> None:
    requests = [asked(number, number, key=f"key-{number}") for number in range(40)]
    canary = Stage(RolloutMode.CANARY).score(requests)
    theirs = of_version(canary, 2)
    assert theirs.silent is not None
    assert (theirs.silent.version, list(theirs.silent.requests)) == (1, list(theirs.requests))
    assert (theirs.outputs.scores - theirs.silent.outputs.scores).ravel().tolist() == [1000] * len(theirs.requests)
    assert of_version(canary, 1).silent is None

    [shadowed] = Stage(RolloutMode.SHADOW).score(requests).parts
    assert shadowed.silent is not None
    assert (shadowed.version, shadowed.silent.version, len(shadowed.silent.outputs)) == (1, 2, 40)


def test_a_request_without_a_key_is_drawn_by_its_id_and_answered_by_one_version() -> None:
    requests = [asked(number, *range(5)) for number in range(100)]
    found = answers(Stage(RolloutMode.CANARY).score(requests))
    assert {version for version, _ in found.values()} == {1, 2}
    assert all(values == [1000 * version + row for row in range(5)] for version, values in found.values())


def test_what_the_champion_refuses_is_refused_and_nothing_else() -> None:
    stage = Stage(RolloutMode.SHADOW, champion=Adding(1, frozenset({13})))
    scored = stage.score([asked(0, 1), asked(1, 2, 13), asked(2, 3)])
    assert list(scored.refused) == [1]
    assert answers(scored) == {0: (1, [1001]), 2: (1, [1003])}
    assert stage.told == Told(paired=2)


@pytest.mark.parametrize("mode", [RolloutMode.SHADOW, RolloutMode.CANARY])
def test_a_challenger_that_fails_changes_no_answer_and_rests(mode: RolloutMode) -> None:
    stage = Stage(mode, challenger=Adding(2, frozenset({7})))
    requests = [asked(number, number, key=f"key-{number}") for number in range(40)]
    drawn = [number for number in range(40) if answers(Stage(mode).score(requests))[number][0] == 2 or mode == "shadow"]
    assert drawn
    stage.challenger.refuses = frozenset({float(drawn[0])})
    assert {version for version, _ in answers(stage.score(requests)).values()} == {1}
    stage.challenger.refuses = frozenset()
    stage.score(requests)
    assert stage.challenger.batches == [len(drawn)]
    assert (stage.told.paired, stage.told.missed) == (0, 2 * len(drawn))
    assert "rests" in stage.told.troubles[1]
    stage.clock.advance(timedelta(seconds=1))
    stage.score(requests)
    assert stage.told.paired == len(drawn)
