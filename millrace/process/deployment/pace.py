"""How fast a deployment is to be: its latency goal, its batches, and what happens when that is not enough."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from millrace.process.deployment.names import Count, Milliseconds, ModelReference
from millrace.process.settings import FROZEN


class Slo(BaseModel):
    """The latency goal, from a record's timestamp to its prediction being readable."""

    model_config = FROZEN

    latency_ms: Milliseconds = 200
    """The goal. 200 ms, because a transaction on a busy broker takes 40 to 90 ms at the 99th percentile."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of records that must meet it."""

    @property
    def latency(self) -> timedelta:
        """The goal."""
        return timedelta(milliseconds=self.latency_ms)


class Batch(BaseModel):
    """Bounds of micro-batches and transactions. Inside them, sizes follow from the SLO and the learned costs."""

    model_config = FROZEN

    max_records: Count = 20_000
    """Largest micro-batch. At this size the costs of a call and of a commit have vanished from the cost of a record,
    and a batch of 30 numbers a record is 5 MB."""
    max_wait_ms: Milliseconds = 20
    """Longest wait for more records. Longer waits save commits at low rates and cost latency."""
    transaction_records: Count = 20_000
    """A transaction is committed at the latest with this many records."""
    transaction_ms: Milliseconds = 50
    """A transaction is committed at the latest at this age; until then nobody sees what is in it."""

    @property
    def max_wait(self) -> timedelta:
        """Longest wait for more records."""
        return timedelta(milliseconds=self.max_wait_ms)

    @property
    def transaction_age(self) -> timedelta:
        """A transaction is committed at the latest at this age."""
        return timedelta(milliseconds=self.transaction_ms)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.transaction_records < self.max_records:
            raise ValueError(
                f"transaction_records ({self.transaction_records}) is smaller than max_records ({self.max_records}); "
                "a transaction holds whole micro-batches"
            )
        return self


class Overload(BaseModel):
    """What to do when larger micro-batches are not enough. By default nothing: records wait, and lag shows it."""

    model_config = FROZEN

    variant: ModelReference | None = None
    """A cheaper model of the same signature and outputs; its predictions say `degraded`."""
    variant_after_ms: Milliseconds = 1_000
    """The variant scores while records are later than their deadline by more than this."""
    shed_after_ms: Milliseconds | None = None
    """Records older than this are not scored but written to the late topic; without it all are scored."""

    @property
    def variant_after(self) -> timedelta | None:
        """Lateness from which the variant scores; None without a variant."""
        return timedelta(milliseconds=self.variant_after_ms) if self.variant else None

    @property
    def shed_after(self) -> timedelta | None:
        """Age from which a record is shed; None where all are scored."""
        return None if self.shed_after_ms is None else timedelta(milliseconds=self.shed_after_ms)
