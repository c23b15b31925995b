"""What a lane is to be: values only, so that settings, tests and the in-memory log can make one without a broker."""

from dataclasses import dataclass
from datetime import timedelta

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery
from millrace.process.deployment import GroupProtocol, Start
from millrace.process.settings import LaneBody


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """One worker's lane.

    Attributes:
        deployment: Name of the deployment; part of the transactional id.
        slot: Which worker of the deployment this is, from 0. The same worker must come back with the same slot: that
            is what ends the open transaction of its killed predecessor.
        topic: The input topic.
        delivery: What is promised.
        group: Consumer group or share group; by default `millrace-<deployment>`.
        group_protocol: How the group agrees. A share group has its own.
        start_at: Where to begin without a committed offset.
        session_timeout: How long a silent worker keeps its partitions; None leaves it to the broker. Under KIP-848 and
            for share groups this belongs to the group and is set there, which needs the right to alter its configs.
        transaction_timeout: How long a transaction may stay open before the broker aborts it. Readers of the output
            wait up to this long (and the broker's clean-up interval) for a worker that dies and is not restarted.
        alternate: Whether three transactional producers take turns: a transaction is written while the one before it
            settles, and none by the producer whose last one has only just ended. With one producer every commit is
            waited for.
        compression: Of the outputs; a librdkafka codec name.
        body: What moves the records. A shared lane has only the Python body.
    """

    deployment: str
    slot: int
    topic: str
    delivery: Delivery = Delivery.EXACTLY_ONCE
    group: str = ""
    group_protocol: GroupProtocol = GroupProtocol.AUTO
    start_at: Start = Start.EARLIEST
    session_timeout: timedelta | None = None
    transaction_timeout: timedelta = timedelta(seconds=10)
    alternate: bool = True
    compression: str = "none"
    body: LaneBody = LaneBody.PYTHON

    def __post_init__(self) -> None:
        if self.slot < 0:
            raise RequestError(f"slot {self.slot} of {self.deployment} is negative", remedy="count slots from 0")
        if self.transaction_timeout < timedelta(seconds=1):
            raise RequestError(
                f"the transaction timeout of {self.deployment} is {self.transaction_timeout.total_seconds():g} s",
                remedy="give the broker at least one second to answer",
            )
        if not self.group:
            object.__setattr__(self, "group", f"millrace-{self.deployment}")

    @property
    def transactional_ids(self) -> tuple[str, ...]:
        """The identities of this slot's producers, the same in every life of the worker."""
        stem = f"millrace-{self.deployment}-{self.slot}"
        return tuple(f"{stem}-{letter}" for letter in ("abc" if self.alternate else "a"))
