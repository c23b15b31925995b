"""The loop: poll, decide, score, write, commit.

A commit is begun and heard of later: while one transaction settles, the next one is polled, scored and written. One
that is due before the last has settled goes on with whole micro-batches until it is full, and waits then.

Everything it decides is decided by `millrace.core.batching`; everything it does is done by its ports. It knows no
Kafka, no model and no clock of its own, so that the same loop runs on a broker and in a simulation.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.batching import BatchPolicy, Mode, Send, Wait, decide, is_commit_due, is_transaction_full
from millrace.core.clock import Clock
from millrace.core.cost import backoff
from millrace.core.errors import FatalError, TransientError
from millrace.core.lane import Discard, Lane, Outcome, Settled
from millrace.core.records import OutputBatch, RecordBatch
from millrace_scorer.logic.handovers import Handovers
from millrace_scorer.logic.pending import Pending, surviving
from millrace_scorer.logic.ports import Models, Observer, Scored, Scoring, Tally
from millrace_scorer.logic.shedding import late_output, split_late

_EVERYTHING: Final = Discard(everything=True)
_NO_TIME: Final = timedelta(0)

_SIZE_AT_FIRST: Final = 64 * 1024.0
"""Bytes that a record is taken to have before one was seen: the first poll is a careful one."""

_SIZE_FADE: Final = 0.5
"""How fast an average of large records is forgotten; larger ones count at once."""

_SIZE_SAMPLE: Final = 500
"""At least so many records of a larger poll tell the average."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the loop needs to know beside the batch policy.

    Attributes:
        late_topic: Where shed records go.
        backlog_bytes: About how many bytes of records may be polled and not yet settled.
        idle: Longest poll while nothing arrives; how soon a stop or a new model is noticed.
        first_retry: Wait before a transient failure is tried again; doubles each time.
        longest_retry: Longest such wait.
        retry_for: A transient failure that lasts longer than this is fatal.
    """

    late_topic: str
    backlog_bytes: int = 64 * 1024 * 1024
    idle: timedelta = timedelta(milliseconds=100)
    first_retry: timedelta = timedelta(milliseconds=100)
    longest_retry: timedelta = timedelta(seconds=10)
    retry_for: timedelta = timedelta(minutes=10)


@dataclass(slots=True)
class _Transaction:
    """What has been written since the last commit was begun, or what that commit is about."""

    since: float
    tally: Tally
    timestamps_ms: list[NDArray[np.int64]]
    committing_since: float = 0.0

    @property
    def records(self) -> int:
        return self.tally.consumed


@dataclass(slots=True)
class _Suspension:
    """Records that could not be scored for a transient reason."""

    records: RecordBatch
    since: float
    attempt: int
    retry_at: float


class ScoringLoop:
    """One worker's loop over one lane. One thread."""

    def __init__(
        self,
        lane: Lane,
        models: Models,
        handovers: Handovers,
        *,
        policy: BatchPolicy,
        settings: LoopSettings,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._lane = lane
        self._models = models
        self._handovers = handovers
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._pending = Pending()
        self._record_bytes = _SIZE_AT_FIRST
        self._transaction: _Transaction | None = None
        self._settling: _Transaction | None = None
        self._suspension: _Suspension | None = None

    def turn(self) -> None:
        """One decision and its execution. Blocks at most about `idle`, or for as long as one batch or commit takes.

        What became of a commit is heard first.

        Raises:
            FatalError: The loop cannot go on. Nothing that was committed is affected; close the lane.
        """
        self._listen()
        if self._suspension is not None:
            self._wait_or_retry(self._suspension)
            return
        backlog = self._pending.backlog(wall_ms=self._clock.wall_ms(), monotonic=self._clock.monotonic())
        match decide(backlog, self._policy, self._models.current().costs):
            case Wait(_) if self._transaction is not None:
                # The last commit is on its way, and there is nothing better to do than to wait for it.
                self._await_settled()
                self._begin()
            case Wait(linger):
                self._poll(linger)
            case Send(records, mode):
                queued = backlog.waited.total_seconds()
                self._send(self._pending.take(records), self._scoring(mode), queued_seconds=queued)

    def finish(self) -> None:
        """Commit what is written; forget what is only polled, which somebody will poll again. The loop is over then."""
        self._pending.discard(_EVERYTHING)
        self._suspension = None
        self._commit()

    def _scoring(self, mode: Mode) -> Scoring:
        variant = self._models.variant() if mode is Mode.VARIANT else None
        return variant or self._models.current()

    def _poll(self, linger: timedelta) -> None:
        held = self._settling.records if self._settling is not None else 0
        affordable = int(self._settings.backlog_bytes / self._record_bytes) - held
        room = max(min(self._policy.transaction_records, affordable) - len(self._pending), 1)
        # With records at hand the linger is all the time there is; without any, it starts at the first one.
        timeout = linger if len(self._pending) else self._settings.idle
        self._take_in(room, timeout, linger)

    def _take_in(self, limit: int, timeout: timedelta, linger: timedelta) -> None:
        try:
            polled = self._lane.poll(limit, timeout, linger)
        except TransientError as error:
            self._observer.unreachable(str(error))
            return
        if polled.discard:
            self._forget(polled.discard)
        if len(polled.records):
            self._record_bytes = max(_average_bytes(polled.records), self._record_bytes * _SIZE_FADE)
        self._pending.add(polled.records, wall_ms=self._clock.wall_ms(), monotonic=self._clock.monotonic())
        self._observer.polled(len(polled.records), backlog=len(self._pending))

    def _forget(self, discard: Discard) -> None:
        """Obey a lane that went back or gave partitions away; a commit on its way has ended by then."""
        self._await_settled()
        self._lose(discard)
        if self._suspension is not None:
            self._suspension.records = surviving(self._suspension.records, discard)

    def _send(self, records: RecordBatch, scoring: Scoring, *, queued_seconds: float) -> None:
        started = self._clock.monotonic()
        try:
            scored = self._score(records, scoring)
            changes = self._handovers.note(records, scoring.lineup, wall_ms=self._clock.wall_ms())
        except TransientError as error:
            self._suspend(records, error)
            return
        # Without the writing, which may wait for the commit on its way.
        scoring.costs.score.observe(len(records), timedelta(seconds=self._clock.monotonic() - started))
        self._lane.write((*scored.outputs, *changes), records.next_offsets())
        self._observer.scored(scored, queued_seconds=queued_seconds)
        transaction = self._transaction or _Transaction(started, Tally(), [])
        transaction.tally += scored.tally
        transaction.timestamps_ms.append(records.timestamps_ms)
        self._transaction = transaction
        self._listen()

    def _score(self, records: RecordBatch, scoring: Scoring) -> Scored:
        wall_ms = self._clock.wall_ms()
        if self._policy.shed_after is None:
            return scoring.score(records, wall_ms=wall_ms)
        on_time, late = split_late(records, wall_ms=wall_ms, shed_after=self._policy.shed_after)
        scored = scoring.score(on_time, wall_ms=wall_ms) if len(on_time) else Scored((), Tally())
        if not len(late):
            return scored
        outputs: tuple[OutputBatch, ...] = (*scored.outputs, late_output(late, topic=self._settings.late_topic))
        tally = scored.tally + Tally(consumed=len(late), shed=len(late))
        return Scored(outputs, tally, scored.seconds, scored.bisected)

    def _listen(self) -> None:
        """Take in what became of the commit on its way, if that is known; begin the next one when it is due."""
        self._take_note()
        if self._transaction is None or not self._may_begin(self._transaction):
            return
        self._await_settled()
        self._begin()
        self._take_note()  # a lane that cannot do both at once has settled it by now

    def _may_begin(self, transaction: _Transaction) -> bool:
        """Whether its commit is due; while another one is on its way, whether there is nothing left but to wait."""
        written, age = transaction.records, timedelta(seconds=self._clock.monotonic() - transaction.since)
        if self._settling is not None:
            return is_transaction_full(written=written, age=age, policy=self._policy)
        return is_commit_due(written=written, age=age, backlog=len(self._pending), policy=self._policy)

    def _commit(self) -> Outcome:
        """Settle everything that is written and wait for it; COMMITTED if all of it is readable now."""
        if self._await_settled() is Outcome.ABORTED:
            return Outcome.ABORTED
        self._begin()
        return self._await_settled()

    def _begin(self) -> None:
        """Begin to commit what is written. The commit before it has ended, and may have taken this with it."""
        if self._transaction is None:
            return
        self._settling, self._transaction = self._transaction, None
        self._settling.committing_since = self._clock.monotonic()
        self._lane.begin_commit()

    def _take_note(self) -> None:
        if self._settling is not None and (settled := self._lane.poll_commit()) is not None:
            self._conclude(self._settling, settled)

    def _await_settled(self) -> Outcome:
        """Wait for the commit on its way; COMMITTED where there is none."""
        if self._settling is None:
            return Outcome.COMMITTED
        settled = self._lane.await_commit()
        self._conclude(self._settling, settled)
        return settled.outcome

    def _conclude(self, transaction: _Transaction, settled: Settled) -> None:
        """A commit has ended."""
        self._settling = None
        ago = timedelta(seconds=self._clock.monotonic() - transaction.committing_since) - settled.took
        self._tell(transaction, settled, ago=max(ago, _NO_TIME))
        if settled.outcome is Outcome.COMMITTED:
            self._models.current().costs.commit.observe(transaction.records, settled.took)
        else:
            # The lane went back: everything polled so far will come again, so none of it may be scored now.
            self._lose(_EVERYTHING)

    def _lose(self, discard: Discard) -> None:
        """Forget what the lane names. It has settled by then what was written for it."""
        self._pending.discard(discard)
        self._handovers.forget(discard)
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._tell(transaction, Settled(Outcome.ABORTED if discard.everything else Outcome.COMMITTED))

    def _tell(self, transaction: _Transaction, settled: Settled, *, ago: timedelta = _NO_TIME) -> None:
        """The broker answered so long ago."""
        stamped = transaction.timestamps_ms if settled.outcome is Outcome.COMMITTED else []
        latency = _latency_seconds(stamped, self._clock.wall_ms() - round(ago / timedelta(milliseconds=1)))
        took = settled.took.total_seconds()
        self._observer.settled(settled.outcome, transaction.tally, seconds=took, latency_seconds=latency)

    def _suspend(self, records: RecordBatch, error: TransientError) -> None:
        now = self._clock.monotonic()
        before = self._suspension
        since, attempt = (before.since, before.attempt + 1) if before else (now, 1)
        if now - since > self._settings.retry_for.total_seconds():
            raise FatalError(
                f"scoring has failed for {self._settings.retry_for}: {error.message}",
                remedy=error.remedy or "nothing is lost: start the scorer again when the cause is gone",
            ) from error
        if before is None:
            self._lane.pause()
            # Nobody should wait for what is already written. Where that fails, these records will come again too.
            if self._commit() is Outcome.ABORTED:
                records = RecordBatch.empty(records.topic)
        wait = backoff(attempt, first=self._settings.first_retry, longest=self._settings.longest_retry)
        self._suspension = _Suspension(records, since, attempt, now + wait.total_seconds())
        self._observer.suspended(str(error), attempt=attempt)

    def _wait_or_retry(self, suspension: _Suspension) -> None:
        left = max(timedelta(seconds=suspension.retry_at - self._clock.monotonic()), _NO_TIME)
        # Polling goes on while paused: the membership of the group depends on it.
        self._take_in(1, min(left, self._settings.idle), _NO_TIME)
        if left:
            return
        if len(suspension.records):
            self._send(suspension.records, self._models.current(), queued_seconds=0)
        if self._suspension is suspension:
            self._resume()

    def _resume(self) -> None:
        self._suspension = None
        self._lane.resume()
        self._observer.resumed()


def _average_bytes(records: RecordBatch) -> float:
    """Told from a sample, spread over the records: looking at each would cost more than it tells."""
    sample = records.values[:: max(len(records) // _SIZE_SAMPLE, 1)]
    return max(sum(map(len, filter(None, sample))) / len(sample), 1.0)


def _latency_seconds(timestamps_ms: list[NDArray[np.int64]], wall_ms: int) -> NDArray[np.float64]:
    stamped = np.concatenate([np.empty(0, np.int64), *timestamps_ms])
    return (wall_ms - stamped[stamped >= 0]) / 1000.0
