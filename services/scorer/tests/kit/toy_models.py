"""Models of one number, without any runtime: they answer by its sign, refuse, are slow or fail when told to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np

from millrace.codec.dead_letters import Circumstances
from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.predictions import Identity, JsonPredictionEncoder
from millrace.codec.shadows import ShadowEncoder
from millrace.core.batching import Costs
from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.cost import LatencyCurve
from millrace.core.errors import FatalError, InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.core.profiling import build_profile
from millrace.core.records import RecordBatch
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.serving.engine import Engine
from millrace.testing.clock import ManualClock
from millrace_scorer.logic.lineup import Lineup, Member
from millrace_scorer.logic.rollout import RolloutScoring, Terms
from millrace_scorer.logic.scoring import ModelScoring, OutputTopics

SIGNATURE: Final = Signature((Feature("x"),), (ModelInput("x", ("x",)),), Task.BINARY, "scores", classes=("no", "yes"))
_SAMPLE: Final = FeatureColumns(SIGNATURE, (np.linspace(-1, 1, 50, dtype=np.float32)[:, None],))
_PROFILE: Final = build_profile(_SAMPLE)
ALLOWANCE: Final = timedelta(milliseconds=100)


@dataclass
class Toy:
    """A runtime. The second class has this score for every row, so that answers tell versions apart."""

    clock: ManualClock
    score: float
    takes: timedelta = timedelta(0)
    refuses: float | None = None
    is_broken: bool = False
    calls: list[int] = field(default_factory=list)

    def infer(self, columns: FeatureColumns) -> Outputs:
        """Answer, or do what it was told to."""
        self.calls.append(len(columns))
        self.clock.advance(self.takes)
        if self.is_broken:
            raise FatalError("the model is broken")
        if self.refuses is not None and (columns.column("x") == self.refuses).any():
            raise InvalidRecordError(Reason.MODEL_ERROR, "not that one")
        second = np.full(len(columns), self.score, np.float32)
        return Outputs(np.stack((1 - second, second), axis=1), (second > 0.5).astype(np.intp))


def member(version: int) -> Member:
    """A version, with a digest of its own."""
    return Member(version, "sha256:" + f"{version:02x}" * 32)


def model_scoring(toy: Toy, version: int, deployment: str = "rain") -> ModelScoring:
    """A version at work."""
    identity = Identity(deployment, "weather", version, member(version).digest)
    return ModelScoring(
        identity=identity,
        decoder=JsonDecoder(SIGNATURE, limits=Limits()),
        engine=Engine(toy, Binner(_PROFILE, SIGNATURE)),
        encoder=JsonPredictionEncoder(identity, SIGNATURE),
        topics=OutputTopics(f"{deployment}.predictions", f"{deployment}.dlq"),
        circumstances=Circumstances(deployment, f"weather/{version}", f"scorer-{deployment}"),
        costs=Costs(LatencyCurve(), LatencyCurve()),
        clock=toy.clock,
        lineup=Lineup("weather", member(version)),
    )


def rollout_scoring(
    champion: ModelScoring, challenger: ModelScoring, mode: RolloutMode, *, share: float = 0.3, reads_alike: bool = True
) -> RolloutScoring:
    """Two versions at work."""
    deployment = champion.identity.deployment
    terms = Terms(deployment, mode, share, f"{deployment}.shadows", ALLOWANCE)
    silent, answering = challenger.identity, champion.identity
    if mode is RolloutMode.CANARY:
        silent, answering = answering, silent
    return RolloutScoring(
        champion,
        challenger,
        challenger_decoder=None if reads_alike else challenger.decoder,
        shadows=ShadowEncoder(silent, answering, SIGNATURE, mode),
        terms=terms,
        costs=Costs(LatencyCurve(), LatencyCurve()),
        lineup=terms.lineup("weather", member(champion.identity.version), member(challenger.identity.version)),
        rest=Rest(champion.clock, ALLOWANCE),
    )


def records(values: Sequence[bytes | None], *, keys: Sequence[bytes | None] | None = None) -> RecordBatch:
    """Records of one partition from offset 0 on."""
    count = len(values)
    offsets = np.arange(count, dtype=np.int64)
    return RecordBatch(
        "rain.features",
        np.zeros(count, np.int32),
        offsets,
        offsets + 1_000,
        keys or [b"key-%d" % number for number in range(count)],
        values,
        [None] * count,
    )
