"""What the loops need from the outside, beside their lane (`millrace.core.lane`)."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import timedelta
from typing import Protocol

from millrace.codec.audit_records import ReadLabels, ReadPredictions
from millrace.core.lane import Lane, Outcome
from millrace.core.records import RecordBatch, TopicPartition


class Columns(Protocol):
    """Makes columns of records, many at a time."""

    def predictions(self, records: RecordBatch) -> ReadPredictions:
        """The predictions of a batch of one partition."""
        ...

    def labels(self, records: RecordBatch) -> ReadLabels:
        """The labels of a batch of one partition."""
        ...


class LabelLog(Protocol):
    """The labels, partition by partition, from wherever one likes; nothing is ever committed."""

    def start(self, next_offsets: Mapping[int, int]) -> None:
        """Read exactly these partitions from now on, each from its offset."""
        ...

    def read(self, limit: int, timeout: timedelta) -> RecordBatch:
        """Records as they come; none when the time passes without any.

        Raises:
            TransientError: The broker is away; call again.
        """
        ...

    def look(self, partitions: Iterable[int]) -> None:
        """Take note of where these partitions end now.

        Raises:
            TransientError: The broker is away; nothing was noted.
        """
        ...

    def is_caught_up(self, partition: int) -> bool:
        """Whether everything that was there at the last look has been delivered; starting is a look, too."""
        ...


class Shelf(Protocol):
    """The state that was committed last: the newest value of every key in one partition of the state topic."""

    def load(self, partition: int) -> Mapping[bytes, bytes]:
        """Waits while a transaction of an earlier owner is open on the partition.

        Raises:
            TransientError: The transaction stays open, or the broker is away.
        """
        ...


class AnswerLog(Protocol):
    """Retrain requests of one model, and the answers to them; nothing is ever committed."""

    @property
    def next_offset(self) -> int:
        """Where to go on after what was read."""
        ...

    def start(self, next_offset: int) -> None:
        """Read from this offset on."""
        ...

    def read(self) -> Sequence[bytes | None]:
        """The values that have come since; none when there are none. Does not wait.

        Raises:
            TransientError: The broker is away; call again.
        """
        ...

    def read_until_now(self) -> Sequence[bytes | None]:
        """All values up to what is the end when it is called.

        Raises:
            TransientError: The broker is away, or the end does not come.
        """
        ...


class EvidenceLog(Protocol):
    """The evidence topic, for a judge that takes over."""

    def until(self, next_offset: int) -> RecordBatch:
        """All records of its partition before this offset that compaction has left."""
        ...


class AssignedLane(Lane, Protocol):
    """A lane in a consumer group, which says what the group gave it."""

    def assigned(self) -> Set[TopicPartition]:
        """The partitions that are this worker's. Changes inside `poll` only."""
        ...


class Observer(Protocol):
    """Is told what happened, for telemetry. Must be quick and must not raise."""

    def joined(self, predictions: int, labels: int, *, unjoined: Mapping[str, int], others: int) -> None:
        """Records were counted, or set aside for a reason."""
        ...

    def held(self, events: int, size_bytes: int, *, behind_secs: float) -> None:
        """So much is held for labels to come; labels are so far behind the predictions, in event time."""
        ...

    def settled(self, role: str, outcome: Outcome, *, seconds: float) -> None:
        """A transaction of a role ended."""
        ...

    def restored(self, role: str, what: Mapping[str, int]) -> None:
        """A role took up the state that was committed last."""
        ...

    def judged(self, stage: str, alerts: Sequence[str], *, requests: int, blocked: int) -> None:
        """A window was reported; these alerts changed, and so many retrain requests were made or held back."""
        ...

    def unreachable(self, reason: str) -> None:
        """The broker does not answer; the loops go on asking."""
        ...
