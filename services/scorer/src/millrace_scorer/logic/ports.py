"""What the loop needs from the outside, beside the lane (`millrace.core.lane`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.batching import Costs
from millrace.core.errors import Reason
from millrace.core.lane import Outcome
from millrace.core.records import OutputBatch, RecordBatch
from millrace_scorer.logic.lineup import Lineup


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of what became of records.

    Attributes:
        consumed: Records taken in.
        predicted: Predictions.
        degraded: Those of them that the cheaper variant made.
        shed: Records too old to be scored.
        dead_lettered: Records that cannot be scored.
        shadowed: Predictions beside which another version's answer was written.
        canary: Predictions that the challenger made.
        missed: Predictions that the challenger should have had a part in and had none.
        left_out: Rows that a filter of the model's transform left out.
    """

    consumed: int = 0
    predicted: int = 0
    degraded: int = 0
    shed: int = 0
    dead_lettered: Mapping[Reason, int] = field(default_factory=dict)
    shadowed: int = 0
    canary: int = 0
    missed: int = 0
    left_out: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        reasons = self.dead_lettered.keys() | other.dead_lettered.keys()
        return Tally(
            self.consumed + other.consumed,
            self.predicted + other.predicted,
            self.degraded + other.degraded,
            self.shed + other.shed,
            {reason: self.dead_lettered.get(reason, 0) + other.dead_lettered.get(reason, 0) for reason in reasons},
            self.shadowed + other.shadowed,
            self.canary + other.canary,
            self.missed + other.missed,
            self.left_out + other.left_out,
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """One micro-batch, scored and encoded: what to write, and what to count.

    Attributes:
        outputs: Predictions, dead letters; every input record is in exactly one of them, but for those that a filter of
            the model's transform leaves out.
        tally: What became of the records.
        seconds: Time by stage: decode, infer, encode.
        bisected: Whether the batch failed whole and was scored in parts.
        challenger_trouble: What is wrong with the challenger of a rollout; None where nothing is, or there is none.
    """

    outputs: tuple[OutputBatch, ...]
    tally: Tally
    seconds: Mapping[str, float] = field(default_factory=dict)
    bisected: bool = False
    challenger_trouble: str | None = None


class Scoring(Protocol):
    """A model at work: records in, outputs out."""

    @property
    def lineup(self) -> Lineup | None:
        """The versions that answer; None for a stand-in, whose predictions say so themselves."""
        ...

    @property
    def costs(self) -> Costs:
        """What micro-batches cost with this model; the loop keeps learning it."""
        ...

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        """Score every record or make a dead letter of it.

        Raises:
            TransientError: Something outside (a registry, a store) cannot be reached; the same records may be given
                again.
            FatalError: No record can be scored.
        """
        ...


class Models(Protocol):
    """Which models are at work. Asked between micro-batches only, so that no batch mixes versions."""

    def current(self) -> Scoring:
        """The model that scores now."""
        ...

    def variant(self) -> Scoring | None:
        """The cheaper model for times of overload, where the deployment declares one; it marks its predictions."""
        ...


class HandoverLog(Protocol):
    """What earlier workers wrote down about who answers."""

    def latest(self, partitions: Iterable[int]) -> Mapping[int, Lineup]:
        """The newest lineup of each of these partitions; none for one where nothing was ever written down.

        Raises:
            TransientError: A transaction of another worker is still open there, or the broker is away.
        """
        ...


class Observer(Protocol):
    """Is told what happened, for telemetry. Must be quick and must not raise."""

    def polled(self, records: int, *, backlog: int) -> None:
        """A poll brought this many records; the backlog is now so long."""
        ...

    def scored(self, scored: Scored, *, queued_seconds: float) -> None:
        """A micro-batch was scored and written, and is not yet committed; its first record was polled so long ago."""
        ...

    def settled(self, outcome: Outcome, tally: Tally, *, seconds: float, latency_seconds: NDArray[np.float64]) -> None:
        """A transaction ended. Latencies are of its records, from their timestamps to now; empty when aborted."""
        ...

    def unreachable(self, reason: str) -> None:
        """The broker does not answer; the loop goes on asking."""
        ...

    def suspended(self, reason: str, *, attempt: int) -> None:
        """Scoring failed for a transient reason; partitions are paused and the same records will be tried again."""
        ...

    def resumed(self) -> None:
        """Scoring works again."""
        ...
