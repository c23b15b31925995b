"""The rules of a lane in a consumer group, whatever it is connected to.

Six rules make the difference between exactly once and nearly:

1. What was written is settled before a partition is given away. The broker checks who commits, not what he owns, so a
   transaction carried across a revoke would be accepted, and its records scored twice.
2. After an abort nothing is delivered before the reader is back at the committed offsets: the client itself never
   goes back.
3. A writer with an unknown outcome is dropped. Making another with the same identity settles the outcome; the
   committed offsets, read afterwards, are the answer.
4. Writers may take turns: while the one settles its transaction, beside the caller, another takes outputs of the next.
   All identities are taken before the first record is read, which fences a stale worker on each.
5. One transaction settles at a time, and the next one stands on it. Its outputs are sent when the broker has those of
   the first, which keeps their order; its offsets when the first is known to be committed. Where the first is not, both
   are taken back.
6. Nothing goes back, and no partition is given away, while a transaction settles: its offsets may still come. Only the
   steps of settling run beside the caller; whatever follows from their outcome is done by the caller's own calls.
"""

from collections.abc import Callable, Sequence, Set
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from itertools import cycle
from typing import Final

from millrace.core.clock import Clock
from millrace.core.errors import FatalError, MillraceError, RequestError
from millrace.core.lane import Discard, LaneStats, Outcome, Polled, Settled
from millrace.core.records import NextOffset, NextOffsets, OutputBatch, TopicPartition
from millrace.kafka.lane.ports import OpenWriter, Reader, Writer
from millrace.kafka.lane.settling import Here
from millrace.kafka.lane.triage import Recovery, StepError, as_fatal

MOST_REPLACEMENTS: Final = 10
"""Writers that may be replaced before the lane gives up, unless commits succeed in between."""

COMMITS_TO_FORGIVE: Final = 100
"""Commits without a replacement after which earlier replacements no longer count."""


class _State(Enum):
    """What became of the outputs written since the last commit was begun."""

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

    def abort(self) -> None:
        """Take back what is open. When even that fails the writer goes; its successor settles what it left."""
        try:
            self.writer().abort()
        except StepError:
            self.clear()

    def clear(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


@dataclass(frozen=True, slots=True)
class _Settling:
    """A commit on its way. Until it has ended, nobody else touches the writer."""

    seat: _Seat
    next_offsets: NextOffsets
    begun: float
    flushed: Future[None]
    ended: Future[float]
    """When it ended, in the clock's seconds."""


class GroupLane:
    """A lane over a reader in a consumer group and its writers, which take turns if there are several.

    Args:
        topic: The input topic.
        reader: A member of the consumer group, not yet read from.
        open_writers: Make the writers; called at once, and again for each that has to be replaced.
        settler: Where a commit that was begun settles, a step at a time and in order. With a single writer it has to be
            the caller's own thread. Shut down with the lane.
        clock: Tells how long a commit took.

    Raises:
        TransientError: A writer cannot be made for now.
        FatalError: The broker refuses a writer.
    """

    def __init__(
        self, topic: str, reader: Reader, open_writers: Sequence[OpenWriter], settler: Executor, clock: Clock
    ) -> None:
        self._topic = topic
        self._reader = reader
        self._settler = settler
        self._clock = clock
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
        self._settling: _Settling | None = None
        self._settled: Settled | None = None  # the outcome of a commit that was begun, until the caller takes it
        self._done: dict[TopicPartition, NextOffset] = {}
        self._discard = Discard()
        self._stats = LaneStats()
        self._replacements = 0
        self._commits_since_replacement = 0
        self._closed = False
        reader.listen(self)

    def poll(self, limit: int, timeout: timedelta, linger: timedelta = timedelta(0)) -> Polled:
        """See `Lane.poll`."""
        if self._settling is not None and self._settling.ended.done():
            self._hear()
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
        self._await_flush()
        if self._discard.everything:  # these records will come again, as the next poll says
            self._state = _State.FAILED
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
            self._hear()
            self._state = _State.FAILED
            if not self._discard.everything:  # or else it was taken back with what it stood on
                self._take_back_after(error, self._seat)
        else:
            self._pending.update(next_offsets)

    def commit(self) -> Outcome:
        """See `Lane.commit`."""
        self._begin(Here())
        return self.await_commit().outcome

    def begin_commit(self) -> None:
        """See `Lane.begin_commit`."""
        self._begin(self._settler)

    def poll_commit(self) -> Settled | None:
        """See `Lane.poll_commit`."""
        if self._settling is not None and self._settling.ended.done():
            self._hear()
        settled, self._settled = self._settled, None
        return settled

    def await_commit(self) -> Settled:
        """See `Lane.await_commit`."""
        self._hear()
        return self.poll_commit() or Settled(Outcome.COMMITTED)

    def abort(self) -> None:
        """See `Lane.abort`."""
        self._hear()
        self._take_back()
        self._state = _State.NONE
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
        with suppress(MillraceError):
            self._hear()
        self._take_back()
        self._release()

    def on_revoke(self, partitions: Set[TopicPartition]) -> None:
        """The reader gives partitions away: settle what was written while they are still ours."""
        self._hear()
        if self._state is _State.OPEN and self._conclude(self._start(Here())).outcome is Outcome.ABORTED:
            self._state = _State.FAILED
        self._forget(partitions)

    def on_lost(self, partitions: Set[TopicPartition]) -> None:
        """The reader has lost partitions: what is open can only be taken back."""
        self._hear()
        if self._state is _State.OPEN:
            self._take_back()
            self._go_back()
        self._forget(partitions)

    def _release(self) -> None:
        self._settler.shutdown()
        self._reader.close()
        for seat in self._seats:
            seat.clear()

    def _begin(self, settler: Executor) -> None:
        if self._settling is not None or self._settled is not None:
            raise RequestError(
                f"a commit for {self._topic} was begun before the outcome of the last one was asked for",
                remedy="call await_commit first",
            )
        match self._state:
            case _State.NONE:
                self._settled = Settled(Outcome.COMMITTED)
            case _State.FAILED:
                self._state = _State.NONE
                self._settled = Settled(Outcome.ABORTED)
            case _State.OPEN:
                self._settling = self._start(settler)

    def _start(self, settler: Executor) -> _Settling:
        """Let what is open settle; from now on the next writer has its turn."""
        seat, next_offsets = self._seat, self._pending
        self._seat, self._pending = next(self._turns), {}
        self._state = _State.NONE
        writer, begun = seat.writer(), self._clock.monotonic()
        settle = writer.prepare(next_offsets, self._reader)
        flushed = settler.submit(writer.flush)
        ended = settler.submit(self._settle, flushed, settle)
        return _Settling(seat, next_offsets, begun, flushed, ended)

    def _settle(self, flushed: Future[None], settle: Callable[[], None]) -> float:
        """What follows a flush. It may run beside the lane's caller, and touches nothing of the lane but the clock."""
        flushed.result()
        settle()
        return self._clock.monotonic()

    def _await_flush(self) -> None:
        """Wait until outputs sent now come after those of the commit on its way."""
        settling = self._settling
        if settling is not None and (settling.flushed.exception() is not None or settling.ended.done()):
            self._hear()

    def _hear(self) -> None:
        """Wait for the commit on its way, do what follows from its outcome, and keep that for the caller."""
        settling, self._settling = self._settling, None
        if settling is not None:
            self._settled = self._conclude(settling)

    def _conclude(self, settling: _Settling) -> Settled:
        """Wait for the end of a commit, and go on from it or go back."""
        try:
            ended = settling.ended.result()
        except StepError as error:
            self._take_back_after(error, settling.seat)
            return Settled(Outcome.ABORTED, timedelta(seconds=self._clock.monotonic() - settling.begun))
        self._done.update(settling.next_offsets)
        self._commits_since_replacement += 1
        self._count(commits=1)
        return Settled(Outcome.COMMITTED, timedelta(seconds=ended - settling.begun))

    def _take_back_after(self, error: StepError, seat: _Seat) -> None:
        """Take back what a writer has open, in the way that its error allows, and what stands on it; go back."""
        match error.recovery:
            case Recovery.ABORT:
                seat.abort()
            case Recovery.REBUILD:
                seat.clear()
            case Recovery.FATAL | Recovery.RETRY:
                raise as_fatal(error.cause) from error
        self._count(aborts=1)
        self._take_back()
        self._go_back()

    def _take_back(self) -> None:
        """Abort what is open."""
        if self._state is _State.OPEN:
            self._state = _State.FAILED
            self._count(aborts=1)
            self._seat.abort()

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
