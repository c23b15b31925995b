"""A mill in which versions come and go: the real scoring of rollouts, with toy models."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from toy_models import Toy, model_scoring, rollout_scoring

from millrace.core.batching import Costs
from millrace.core.cost import LatencyCurve
from millrace.core.errors import TransientError
from millrace.core.records import RecordBatch, TopicPartition
from millrace.core.rollout import RolloutMode
from millrace.testing.clock import ManualClock
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Scored, Scoring
from millrace_scorer.logic.scoring import ModelScoring
from tests.simulation.lane.mill import HANDOVERS, OUTPUT, PARTITIONS, SHADOWS, BrokenPromiseError, Mill
from tests.simulation.lane.schedule import Event

STAGES: Final = (
    (1, None, RolloutMode.NONE),
    (1, 2, RolloutMode.CANARY),
    (2, None, RolloutMode.NONE),
    (2, 3, RolloutMode.SHADOW),
    (2, None, RolloutMode.NONE),
    (1, 3, RolloutMode.CANARY),
)
"""Champion, challenger and mode, one after the other."""


@dataclass
class RollingModel:
    """The versions of one worker, as the mill's aliases have them."""

    clock: ManualClock
    mill: Mill
    extra: timedelta = timedelta(0)
    fails: bool = False
    costs: Costs = field(default_factory=lambda: Costs(LatencyCurve(), LatencyCurve()))
    made: dict[int, Scoring] = field(default_factory=dict)

    @property
    def lineup(self) -> Lineup | None:
        return self._scoring().lineup

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        self.clock.advance(timedelta(milliseconds=1) + self.extra)
        self.extra = timedelta(0)
        if self.fails:
            self.fails = False
            raise TransientError("the schema registry is away")
        return self._scoring().score(records, wall_ms=wall_ms)

    def current(self) -> Scoring:
        return self

    def variant(self) -> Scoring | None:
        return None

    def _scoring(self) -> Scoring:
        stage = self.mill.stage % len(STAGES)
        if stage not in self.made:
            champion, challenger, mode = STAGES[stage]
            alone = self._version(champion)
            self.made[stage] = alone if challenger is None else rollout_scoring(alone, self._version(challenger), mode)
        return self.made[stage]

    def _version(self, number: int) -> ModelScoring:
        return model_scoring(Toy(self.clock, number / 10), number, deployment="sim")


class RollingMill(Mill):
    """The mill with rollouts."""

    def run(self, schedule: Sequence[Event]) -> None:
        super().run(schedule)
        for number in range(PARTITIONS):
            _check(
                self._documents(OUTPUT, number), self._documents(SHADOWS, number), self._documents(HANDOVERS, number)
            )

    def make_model(self) -> RollingModel:
        return RollingModel(self._clock, self)

    def write(self, number: int) -> bytes:
        return b'{"x": %d}' % number

    def read(self, prediction: bytes) -> int:
        source = json.loads(prediction)["source"]
        return int(source["offset"]) * PARTITIONS + int(source["partition"])

    def _documents(self, topic: str, number: int) -> list[dict[str, Any]]:
        records = self._log.committed_records(TopicPartition(topic, number))
        return [json.loads(record.value or b"") for record in records]


def _check(
    predictions: Sequence[dict[str, Any]], shadows: Sequence[dict[str, Any]], handovers: Sequence[dict[str, Any]]
) -> None:
    """Each prediction is of a version that answers at its offset, and has its pair where it should and nowhere else.

    Raises:
        BrokenPromiseError: Something of it is not so.
    """
    pairs = Counter(each["source"]["offset"] for each in shadows)
    if doubled := [offset for offset, count in pairs.items() if count > 1]:
        raise BrokenPromiseError(f"doubled shadow records at {doubled}")
    firsts = [each["first_offset"] for each in handovers]
    if firsts != sorted(set(firsts)):
        raise BrokenPromiseError(f"handovers out of order: {firsts}")
    for prediction in predictions:
        offset, version = prediction["source"]["offset"], prediction["version"]
        now = [each for each in handovers if each["first_offset"] <= offset][-1:]
        if not now or not _is_allowed(version, has_pair=offset in pairs, handover=now[0]):
            raise BrokenPromiseError(f"version {version} answered offset {offset}, and the handovers say {now}")
    answered = {prediction["source"]["offset"]: prediction for prediction in predictions}
    for each in shadows:
        if answered[each["source"]["offset"]]["version"] != each["beside"]["version"]:
            raise BrokenPromiseError(f"a shadow record is beside another answer: {each}")


def _is_allowed(version: int, *, has_pair: bool, handover: dict[str, Any]) -> bool:
    champion, mode = int(handover["champion"]["version"]), handover["mode"]
    if mode == RolloutMode.CANARY:
        return version == (handover["challenger"]["version"] if has_pair else champion)
    return version == champion and has_pair == (mode == RolloutMode.SHADOW)
