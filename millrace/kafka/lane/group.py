"""The rules of a lane in a consumer group, whatever it is connected to.

Four rules make the difference between exactly once and nearly:

1. What was written is settled before a partition is given away. The broker checks who commits, not what he owns, so a
   transaction carried across a revoke would be accepted, and its records scored twice.
2. After an abort nothing is delivered before the reader is back at the committed offsets: the client itself never
   goes back.
3. A writer with an unknown outcome is dropped. Making another with the same identity settles the outcome; the
   committed offsets, read afterwards, are the answer.
4. Two writers may take turns, strictly one after the other, so that the next transaction need not wait for the markers
   of the last. Both identities are taken before the first record is read, which fences a stale worker on both.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from itertools import cycle
from typing import Final

from millrace.core.errors import FatalError, MillraceError, RequestError
from millrace.core.lane import Discard, LaneStats, Outcome, Polled
from millrace.core.records import NextOffset, NextOffsets, OutputBatch, TopicPartition
from millrace.kafka.lane.ports import OpenWriter, Reader, Writer
from millrace.kafka.lane.triage import Recovery, StepError, as_fatal

MOST_REPLACEMENTS: Final = 10
"""Writers that may be replaced before the lane gives up, unless commits succeed in between."""

COMMITS_TO_FORGIVE: Final = 100
"""Commits without a replacement after which earlier replacements no longer count."""


class _State(Enum):
    """What became of the outputs written since the last commit."""

    NONE = "none"
    OPEN = "open"
    FAILED = "failed"
    """They were taken back, and the caller has not been told yet."""


class _Seat:
    """The place of one writer: there is one whenever it is needed, a new one after the old one was dropped."""

    def __init__(self, open_writer: OpenWriter) -> None:
        self._open = open_writer
        self._writer: Writer | None = None

    @property
    def is_empty(self) -> bool:
        return self._writer is None

    def writer(self) -> Writer:
        if self._writer is None:
            self._writer = self._open()
        return self._writer

    def clear(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class GroupLane:
    """A lane over a reader in a consumer group and one or two writers that take turns.

    Args:
        topic: The input topic.
        reader: A member of the consumer group, not yet read from.
        open_writers: Make the writers; called at once, and again for each that has to be replaced.

    Raises:
        TransientError: A writer cannot be made for now.
        FatalError: The broker refuses a writer.
    """

    def __init__(self, topic: str, reader: Reader, open_writers: Sequence[OpenWriter]) -> None:
        self._topic = topic
        self._reader = reader
        self._seats = [_Seat(open_writer) for open_writer in open_writers]
        try:
            for seat in self._seats:
                seat.writer()
        except MillraceError:
            self._release()
            raise
        self._turns = cycle(self._seats)
        self._seat = next(self._turns)
        self._state = _State.NONE
        self._pending: dict[TopicPartition, NextOffset] = {}
        self._done: dict[TopicPartition, NextOffset] = {}
        self._discard = Discard()
        self._stats = LaneStats()
        self._replacements = 0
        self._commits_since_replacement = 0
        self._closed = False
        reader.listen(self)

    def poll(self, limit: int, timeout: timedelta, linger: timedelta = timedelta(0)) -> Polled:
        """See `Lane.poll`."""
        self._fill_seats()
        records = self._reader.read(limit, timeout, linger)
        self._state = _State.NONE if self._state is _State.FAILED else self._state
        discard, self._discard = self._discard, Discard()
        return Polled(records, discard)

    def write(self, outputs: Sequence[OutputBatch], next_offsets: NextOffsets) -> None:
        """See `Lane.write`.

        Raises:
            RequestError: The caller completes records of a partition that `Discard` told it to forget.
        """
        if self._state is _State.FAILED:
            return
        if strangers := next_offsets.keys() - self._reader.owned():
            raise RequestError(
                f"outputs for {', '.join(map(str, sorted(strangers)))} were written after the partition was given away",
                remedy="drop what Polled.discard names before anything is written",
            )
        self._fill_seats()
        writer = self._seat.writer()
        try:
            if self._state is _State.NONE:
                writer.begin()
                self._state = _State.OPEN
            for batch in outputs:
                writer.send(batch)
        except StepError as error:
            self._recover(error)
            self._state = _State.FAILED
        else:
            self._pending.update(next_offsets)

    def commit(self) -> Outcome:
        """See `Lane.commit`."""
        match self._state:
            case _State.NONE:
                return Outcome.COMMITTED
            case _State.FAILED:
                self._state = _State.NONE
                return Outcome.ABORTED
            case _State.OPEN:
                return self._settle()

    def abort(self) -> None:
        """See `Lane.abort`."""
        self._take_back()
        self._go_back()

    def pause(self) -> None:
        """See `Lane.pause`."""
        self._reader.pause()

    def resume(self) -> None:
        """See `Lane.resume`."""
        self._reader.resume()

    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are this worker's. Changes inside `poll` only."""
        return frozenset(self._reader.owned())

    def stats(self) -> LaneStats:
        """See `Lane.stats`."""
        return replace(self._stats, assigned=len(self._reader.owned()), lag_records=self._reader.lag(self._done))

    def close(self) -> None:
        """See `Lane.close`."""
        if self._closed:
            return
        self._closed = True
        self._take_back()
        self._release()

    def on_revoke(self, partitions: Set[TopicPartition]) -> None:
        """The reader gives partitions away: settle what was written while they are still ours."""
        if self._state is _State.OPEN:
            self._settle()
        self._forget(partitions)

    def on_lost(self, partitions: Set[TopicPartition]) -> None:
        """The reader has lost partitions: what is open can only be taken back."""
        if self._state is _State.OPEN:
            self._take_back()
            self._go_back()
        self._forget(partitions)

    def _release(self) -> None:
        self._reader.close()
        for seat in self._seats:
            seat.clear()

    def _settle(self) -> Outcome:
        """End what is open: by committing it, or by going back."""
        try:
            self._seat.writer().settle(self._pending, self._reader)
        except StepError as error:
            self._recover(error)
            return Outcome.ABORTED
        self._state = _State.NONE
        self._done.update(self._pending)
        self._pending.clear()
        self._seat = next(self._turns)
        self._commits_since_replacement += 1
        self._count(commits=1)
        return Outcome.COMMITTED

    def _recover(self, error: StepError) -> None:
        """Take back what is open in the way that `error` allows, and go back to the committed offsets."""
        match error.recovery:
            case Recovery.ABORT:
                self._take_back()
            case Recovery.REBUILD:
                self._seat.clear()
                self._state = _State.NONE
                self._count(aborts=1)
            case Recovery.FATAL | Recovery.RETRY:
                raise as_fatal(error.cause) from error
        self._go_back()

    def _take_back(self) -> None:
        """Abort what is open. When even that fails the writer goes; its successor settles what it left."""
        if self._state is _State.OPEN:
            self._count(aborts=1)
            try:
                self._seat.writer().abort()
            except StepError:
                self._seat.clear()
        self._state = _State.NONE

    def _go_back(self) -> None:
        self._pending.clear()
        self._reader.rewind()
        self._discard = replace(self._discard, everything=True)

    def _forget(self, partitions: Set[TopicPartition]) -> None:
        self._discard = replace(self._discard, partitions=self._discard.partitions | partitions)
        for partition in partitions:
            self._done.pop(partition, None)
        self._count(rebalances=1)

    def _fill_seats(self) -> None:
        """Replace dropped writers, before anything else may depend on what they left behind."""
        for seat in self._seats:
            if not seat.is_empty:
                continue
            if self._commits_since_replacement >= COMMITS_TO_FORGIVE:
                self._replacements = 0
            if self._replacements >= MOST_REPLACEMENTS:
                raise FatalError(
                    f"the producer for {self._topic} was lost {MOST_REPLACEMENTS} times with hardly a commit between",
                    remedy="look for another worker that runs in the same slot of the same deployment",
                )
            seat.writer()
            self._replacements += 1
            self._commits_since_replacement = 0
            self._count(producers_rebuilt=1)

    def _count(self, *, commits: int = 0, aborts: int = 0, producers_rebuilt: int = 0, rebalances: int = 0) -> None:
        self._stats = replace(
            self._stats,
            commits=self._stats.commits + commits,
            aborts=self._stats.aborts + aborts,
            producers_rebuilt=self._stats.producers_rebuilt + producers_rebuilt,
            rebalances=self._stats.rebalances + rebalances,
        )
