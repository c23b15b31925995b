"""The lane: one worker's way from input partitions to output topics.

A lane owns a consumer, a producer and what ties them together. Its caller owns every decision: how many records, when
to commit, what to do with a bad one. Three lanes exist, one per delivery mode, and one on the in-memory log; all pass
`millrace.testing.contracts.lane`.

The caller's turn::

    polled = lane.poll(limit, timeout, linger)  # 1. drop what polled.discard names, keep polled.records
    lane.write(outputs, next_offsets)           # 2. as often as wanted
    outcome = lane.commit()                     # 3. everything written since the last commit, or nothing

A caller who has better to do than to wait for the third begins it, goes on with the first two, and hears of it later::

    lane.begin_commit()                         # 3a. everything written since the last one was begun
    ...                                         #     1 and 2, for the transaction after it
    settled = lane.poll_commit()                # 3b. None as long as nobody knows

One commit at a time is on its way, and what is written meanwhile stands on it: where it fails, both are taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Protocol

from millrace.core.records import NextOffsets, OutputBatch, RecordBatch, TopicPartition


class Delivery(StrEnum):
    """What a deployment promises for the way from its input topic to its predictions topic."""

    EXACTLY_ONCE = "exactly_once"
    """Outputs and offsets in one transaction. A batch may be scored twice; `read_committed` readers see it once."""
    AT_LEAST_ONCE = "at_least_once"
    """No transaction. After a crash or a rebalance some predictions appear twice; none is missing."""
    SHARED = "shared"
    """A Kafka share group: more workers than partitions, at least once, no order."""


class Outcome(Enum):
    """How a commit ended."""

    COMMITTED = "committed"
    """Every record written since the last commit is visible, and its input will not be polled again."""
    ABORTED = "aborted"
    """Not known to be visible. The next poll says what to discard and goes on from what the broker has committed:
    inputs whose outputs are not visible come again, others do not."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a commit that was begun.

    Attributes:
        outcome: How it ended.
        took: From its beginning to the broker's answer, however much later somebody asked.
    """

    outcome: Outcome
    took: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Discard:
    """Records that the caller must forget because the lane will deliver them again, or to somebody else.

    Attributes:
        everything: The lane went back to the committed offsets: forget every record not yet committed.
        partitions: These partitions belong to another worker now: forget their records that are not yet written.
            (What was written is settled: the lane committed or aborted it before giving the partition away. So is a
            commit that was begun: `Lane.poll_commit` tells its outcome at once.)
    """

    everything: bool = False
    partitions: frozenset[TopicPartition] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.partitions)


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought.

    `discard` concerns records of earlier polls and is to be obeyed before `records` are used.
    """

    records: RecordBatch
    discard: Discard = field(default_factory=Discard)


@dataclass(frozen=True, slots=True)
class LaneStats:
    """Counts since the lane was opened, for telemetry."""

    commits: int = 0
    aborts: int = 0
    producers_rebuilt: int = 0
    rebalances: int = 0
    assigned: int = 0
    lag_records: int | None = None
    """Records between what is done and the end of the assigned partitions; None before it is known."""


class Lane(Protocol):
    """One worker's way from input partitions to output topics. Not thread-safe: one caller, one thread."""

    def poll(self, limit: int, timeout: timedelta, linger: timedelta = timedelta(0)) -> Polled:
        """Wait at most `timeout` for the first record, then at most `linger` for more, up to `limit` records.

        With a linger of zero it returns what is there as soon as there is anything. It never waits to fill the batch
        beyond the linger, and both may be zero: then it takes what is already here.

        Must be called regularly even when the caller wants no records (`pause` first): membership of the consumer
        group depends on it. Assignments change only inside this call.

        Raises:
            TransientError: The broker cannot be reached for now; call again.
            FatalError: Credentials refused, topic gone, member fenced for good.
        """
        ...

    def write(self, outputs: Sequence[OutputBatch], next_offsets: NextOffsets) -> None:
        """Write outputs, and remember that they complete the inputs up to `next_offsets`.

        Takes as long as the producer's queue needs to have room, and as the outputs of a commit on its way need to
        reach the broker, which keeps their order. A normal return does not prove that anything written now reached it;
        only a commit does. If writing fails in a way that aborts, the failure is kept for the commit.

        Raises:
            RequestError: The caller completes records of a partition that it was told to forget.
            TransientError: The broker cannot be reached, and nothing was written; poll, and write again what the poll
                does not discard.
            FatalError: As for `poll`.
        """
        ...

    def commit(self) -> Outcome:
        """Make everything written since the last commit visible and final, or nothing of it.

        `begin_commit` and `await_commit` in one. Blocks until the broker has answered. With nothing written it returns
        COMMITTED at once.

        Raises:
            RequestError: The outcome of a commit that was begun before has not been asked for.
            FatalError: As for `poll`.
        """
        ...

    def begin_commit(self) -> None:
        """Begin to make everything written since the last commit visible and final, or nothing of it.

        Polling and writing may go on at once; a lane that cannot do both has committed when this returns. Where this
        commit fails, what was written since is taken back with it, and the next poll says `Discard(everything=True)`.

        Raises:
            RequestError: The outcome of the last one has not been asked for.
            FatalError: As for `poll`.
        """
        ...

    def poll_commit(self) -> Settled | None:
        """What became of the commit that was begun, once; None as long as that is not known, and where none was begun.

        After ABORTED nothing that was polled so far may be written. Does not block, but for taking back what failed.

        Raises:
            FatalError: As for `poll`.
        """
        ...

    def await_commit(self) -> Settled:
        """As `poll_commit`, but waits for it; COMMITTED where none was begun.

        Raises:
            FatalError: As for `poll`.
        """
        ...

    def abort(self) -> None:
        """Forget everything written since the last commit was begun and go back to the committed offsets.

        Waits for a commit on its way, whose outcome `poll_commit` tells afterwards. The next poll says
        `Discard(everything=True)`.
        """
        ...

    def pause(self) -> None:
        """Deliver no records until `resume`; polling goes on and keeps the membership."""
        ...

    def resume(self) -> None:
        """Deliver records again."""
        ...

    def stats(self) -> LaneStats:
        """Counts so far. Cheap: no call to the broker."""
        ...

    def close(self) -> None:
        """Wait for a commit on its way, as long as a transaction may take; abort what is open; leave the group.

        Releases everything. May be called twice.
        """
        ...
