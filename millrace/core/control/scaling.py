"""What an autoscaler goes by: its settings, what it observes, and what it decides. Pure values."""

from dataclasses import dataclass
from datetime import timedelta
from operator import sub
from typing import TypeAlias

from millrace.core.errors import RequestError


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """How a deployment's scorers may be scaled. The words are KEDA's where KEDA has one.

    Attributes:
        goal: The latency goal, from a record's timestamp to its prediction being readable.
        quantile: Share of records that must meet it.
        min_replicas: Never fewer scorers.
        max_replicas: Never more scorers.
        polling_interval: Time between two observations.
        cooldown: Fewer scorers only when for so long fewer would have done.
        lag_threshold: Waiting records for each scorer, at most; None leaves it to the latency goal.
        activation_lag_threshold: From none, the first scorer starts when more records than this wait.
        allow_idle_consumers: Whether there may be more scorers than partitions.
        exclude_persistent_lag: Whether the lag of a partition that does not move is left out.
    """

    goal: timedelta
    quantile: float = 0.99
    min_replicas: int = 1
    max_replicas: int = 100
    polling_interval: timedelta = timedelta(seconds=2)
    cooldown: timedelta = timedelta(minutes=5)
    lag_threshold: int | None = None
    activation_lag_threshold: int = 0
    allow_idle_consumers: bool = False
    exclude_persistent_lag: bool = True

    def __post_init__(self) -> None:
        if self.min_replicas > self.max_replicas:
            raise RequestError(
                f"minReplicaCount ({self.min_replicas}) is above maxReplicaCount ({self.max_replicas})",
                remedy="lower the first or raise the second",
            )

    def bound(self, partitions: int) -> int:
        """The most scorers for a topic of so many partitions: of a consumer group, no more than these have work."""
        most = self.max_replicas if self.allow_idle_consumers else min(self.max_replicas, partitions)
        return max(most, self.min_replicas)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a deployment at one moment.

    Attributes:
        at_ms: When, milliseconds since 1970.
        desired: Scorers that its document asks for.
        ready: Scorers that do their work.
        committed: What the consumer group has committed, by partition.
        ends: The stable ends of the partitions, in the same order.
        latency: The quantile of the latencies of what was committed in the last seconds; None where nothing was.
        capacity: Records a second of one scorer with full micro-batches, by the learned cost curve; None without one.
    """

    at_ms: int
    desired: int
    ready: int
    committed: tuple[int, ...]
    ends: tuple[int, ...]
    latency: timedelta | None = None
    capacity: float | None = None

    @property
    def lags(self) -> tuple[int, ...]:
        """Records that wait, by partition."""
        return tuple(map(sub, self.ends, self.committed))

    @property
    def lag(self) -> int:
        """Records that wait, in all."""
        return sum(self.ends) - sum(self.committed)


@dataclass(frozen=True, slots=True)
class Step:
    """Another number of scorers from now on.

    Attributes:
        replicas: How many.
        why: The reason, in one line for a person.
    """

    replicas: int
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The number of scorers stays.

    Attributes:
        why: The reason, in one line for a person.
    """

    why: str


Decision: TypeAlias = Step | Hold
