"""When to send a micro-batch, how large, and when to commit: pure decisions from the state and a given time.

The rule: a record that entered the log at `t` is to be readable by `t + slo`. So a micro-batch leaves when the oldest
record's deadline, less the predicted cost of scoring and committing, has come; or when it is full; or when waiting
longer would gain nothing that the settings ask for. Behind schedule, batches grow to the largest size, then a cheaper
variant scores them, then records too old to be of use are shed, each only where the deployment declares it.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from millrace.core.cost import LatencyCurve
from millrace.core.errors import RequestError

_NOTHING = timedelta(0)


class Mode(StrEnum):
    """How a micro-batch is to be scored."""

    NORMAL = "normal"
    VARIANT = "variant"
    """By the cheaper model that the deployment declares; its predictions say `degraded`."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Bounds of micro-batches and transactions.

    Attributes:
        slo: From a record's timestamp to its prediction being readable.
        max_records: Largest micro-batch.
        max_wait: Longest wait for more records while the deadline allows it.
        transaction_records: A transaction is committed at the latest with this many records.
        transaction_age: A transaction is committed at the latest at this age.
        variant_after: Lateness from which the cheaper variant scores; None where there is none.
        shed_after: Age from which a record is not scored but written to the late topic; None to score all.
    """

    slo: timedelta
    max_records: int
    max_wait: timedelta
    transaction_records: int
    transaction_age: timedelta
    variant_after: timedelta | None = None
    shed_after: timedelta | None = None

    def __post_init__(self) -> None:
        if self.max_records < 1 or self.transaction_records < self.max_records:
            raise RequestError(
                f"a micro-batch of {self.max_records} records does not fit a transaction of {self.transaction_records}",
                remedy="batch.max_records must be at least 1 and at most batch.transaction_records",
            )


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has been polled and not yet scored.

    Attributes:
        records: How many.
        oldest: Time since the oldest record's timestamp.
        waited: Time since the first of them was polled.
    """

    records: int
    oldest: timedelta = _NOTHING
    waited: timedelta = _NOTHING


@dataclass(frozen=True, slots=True)
class Costs:
    """Learned costs of the model on this device: of scoring a micro-batch, and of committing a transaction."""

    score: LatencyCurve
    commit: LatencyCurve

    def predict(self, records: int) -> timedelta:
        """From now to readable, if a micro-batch of this size were sent and committed now."""
        return self.score.predict(records) + self.commit.predict(records)


@dataclass(frozen=True, slots=True)
class Wait:
    """Poll for more records, at most this long."""

    linger: timedelta


@dataclass(frozen=True, slots=True)
class Send:
    """Score the oldest `records` of the backlog now, in this mode."""

    records: int
    mode: Mode = Mode.NORMAL


def first_linger(policy: BatchPolicy, costs: Costs) -> timedelta:
    """How long a poll may collect after its first record when nothing is waiting.

    The first record is taken to be fresh; the deadline leaves it the SLO less the cost of the fullest batch.
    """
    return max(_NOTHING, min(policy.max_wait, policy.slo - costs.predict(policy.max_records)))


def decide(backlog: Backlog, policy: BatchPolicy, costs: Costs) -> Wait | Send:
    """Wait for more records, or send now and how many.

    On time, a batch is never larger than what is predicted to meet the deadline of its oldest record, where a smaller
    one would help: each batch is a transaction, and cutting what is cheap to score only adds commits. Late, or with a
    deadline that no size can meet, it is as large as allowed: throughput is then the only way back.
    """
    if not backlog.records:
        return Wait(first_linger(policy, costs))
    whole = min(backlog.records, policy.max_records)
    slack = policy.slo - backlog.oldest
    spare = slack - costs.predict(whole)
    patience = policy.max_wait - backlog.waited
    if spare > _NOTHING and patience > _NOTHING and backlog.records < policy.max_records:
        return Wait(min(spare, patience))
    late = -spare
    if policy.variant_after is not None and late > policy.variant_after:
        return Send(whole, Mode.VARIANT)
    if spare >= _NOTHING:
        return Send(whole)
    commit = costs.commit.predict(whole)
    if costs.score.predict(whole) <= commit:
        return Send(whole)
    return Send(costs.score.largest_within(slack - commit, at_most=whole) or whole)


def is_commit_due(*, written: int, age: timedelta, backlog: int, policy: BatchPolicy) -> bool:
    """Whether to commit now, after `written` records in a transaction of this age.

    A transaction goes on only while whole micro-batches are waiting: then throughput counts and the cost of a commit
    is to be shared. With less than that, what is written is made readable at once.
    """
    if not written:
        return False
    return is_transaction_full(written=written, age=age, policy=policy) or backlog < policy.max_records


def is_transaction_full(*, written: int, age: timedelta, policy: BatchPolicy) -> bool:
    """Whether a transaction may take no further micro-batch, even while the one before it is not settled."""
    return written + policy.max_records > policy.transaction_records or age >= policy.transaction_age
