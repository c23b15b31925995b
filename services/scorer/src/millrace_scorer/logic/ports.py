"""What the loop needs from the outside, beside the lane (`millrace.core.lane`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.batching import Costs
from millrace.core.errors import Reason
from millrace.core.lane import Outcome
from millrace.core.records import OutputBatch, RecordBatch


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of what became of records."""

    consumed: int = 0
    predicted: int = 0
    degraded: int = 0
    shed: int = 0
    dead_lettered: Mapping[Reason, int] = field(default_factory=dict)

    def __add__(self, other: "Tally") -> "Tally":
        reasons = self.dead_lettered.keys() | other.dead_lettered.keys()
        return Tally(
            self.consumed + other.consumed,
            self.predicted + other.predicted,
            self.degraded + other.degraded,
            self.shed + other.shed,
            {reason: self.dead_lettered.get(reason, 0) + other.dead_lettered.get(reason, 0) for reason in reasons},
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """One micro-batch, scored and encoded: what to write, and what to count.

    Attributes:
        outputs: Predictions, dead letters; every input record is in exactly one of them.
        tally: What became of the records.
        seconds: Time by stage: decode, infer, encode.
        bisected: Whether the batch failed whole and was scored in parts.
    """

    outputs: tuple[OutputBatch, ...]
    tally: Tally
    seconds: Mapping[str, float] = field(default_factory=dict)
    bisected: bool = False


class Scoring(Protocol):
    """One model version at work: records in, outputs out. No state that outlives a call."""

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
