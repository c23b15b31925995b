"""How many scorers there may be when their number follows the load. The words are KEDA's, spelt as KEDA spells them."""

from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from millrace.core.control.scaling import ScalePolicy
from millrace.process.deployment.names import Count
from millrace.process.deployment.pace import Slo
from millrace.process.settings import FROZEN

_KEDA: Final = ConfigDict(**FROZEN, alias_generator=to_camel, serialize_by_alias=True)


class AutoScale(BaseModel):
    """Bounds in which the number of scorers follows latency and lag; `millrace scale NAME --keda` tells KEDA."""

    model_config = _KEDA

    paused: bool = False
    """Whether the number stays as it is for now."""
    min_replica_count: Annotated[int, Field(ge=0, le=1_000)] = 1
    """Never fewer scorers. With 0 the first record after a calm waits until a scorer has started."""
    max_replica_count: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Never more scorers."""
    polling_interval: Annotated[int, Field(ge=1, le=3_600)] = 2
    """Seconds between two looks. KEDA's default is 30, by which a latency goal of less is missed before it is seen."""
    cooldown_period: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds for which fewer scorers must have been enough before there are fewer."""
    lag_threshold: Count | None = None
    """Waiting records for each scorer, at most. Where absent, what waits is drained as the latency goal asks."""
    activation_lag_threshold: Annotated[int, Field(ge=0)] = 0
    """From none, the first scorer starts when more records than this wait."""
    allow_idle_consumers: bool = False
    """Whether there may be more scorers than the source has partitions."""
    exclude_persistent_lag: bool = True
    """Whether the lag of a partition that nobody moves is left out: more scorers would not move it either."""

    def policy(self, slo: Slo) -> ScalePolicy:
        """The same for the autoscaler, with the goal that it is to meet."""
        return ScalePolicy(
            goal=slo.latency,
            quantile=slo.quantile,
            min_replicas=self.min_replica_count,
            max_replicas=self.max_replica_count,
            polling_interval=timedelta(seconds=self.polling_interval),
            cooldown=timedelta(seconds=self.cooldown_period),
            lag_threshold=self.lag_threshold,
            activation_lag_threshold=self.activation_lag_threshold,
            allow_idle_consumers=self.allow_idle_consumers,
            exclude_persistent_lag=self.exclude_persistent_lag,
        )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_replica_count > self.max_replica_count:
            raise ValueError(
                f"minReplicaCount ({self.min_replica_count}) is above maxReplicaCount ({self.max_replica_count})"
            )
        return self
