"""The loop of a rollout's judge: evidence of pairs in, decisions out, and the aliases moved.

A decision is written down before it is carried out, and again with its result after: so it is carried out once, however
often its author is killed. The aliases are swapped only if they still are what the decision was made on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import numpy as np

from millrace.core.clock import Clock
from millrace.core.errors import TransientError
from millrace.core.lane import Outcome
from millrace.core.records import NextOffset, OutputBatch, RecordBatch, TopicPartition
from millrace_auditor.logic.ports import AssignedLane
from millrace_auditor.logic.rollout_documents import (
    Decision,
    Pairing,
    Result,
    decision_key,
    decision_value,
    read_rollout_record,
)
from millrace_auditor.logic.rollout_judge import RolloutJudge, carried_out

ROLE: Final = "rollout"
_BATCH_RECORDS: Final = 1_000
_LOOK_EVERY: Final = timedelta(seconds=1)


class RolloutLog(Protocol):
    """The rollouts topic, for a judge that takes over."""

    def read_all(self) -> RecordBatch:
        """Every record of its partition that was written before this call and committed.

        Raises:
            TransientError: A transaction of then is still open, or the broker is away.
        """
        ...


class Aliases(Protocol):
    """The names that say which versions are compared."""

    def pairing(self) -> Pairing | None:
        """The versions that are compared now; None while no rollout is on.

        Raises:
            TransientError: The broker is away.
        """
        ...

    def carry_out(self, decision: Decision) -> Result:
        """Do what the decision says, unless somebody has decided otherwise meanwhile. Twice is as good as once.

        Raises:
            TransientError: The broker is away.
        """
        ...


class RolloutObserver(Protocol):
    """Is told what happened, for telemetry."""

    def settled(self, role: str, outcome: Outcome, *, seconds: float) -> None:
        """A transaction ended."""
        ...

    def compared(self, pairs: int) -> None:
        """So many pairs are counted of the rollout that is on; 0 while none is."""
        ...

    def decided(self, decision: Decision) -> None:
        """A rollout has ended."""
        ...

    def unreachable(self, reason: str) -> None:
        """The broker does not answer; the loop goes on asking."""
        ...


@dataclass(slots=True)
class _Seat:
    """What a judge knows while the evidence is this worker's."""

    judge: RolloutJudge
    next_offset: int
    looked_at: float = float("-inf")


class RolloutLoop:
    """The judge of one deployment's rollouts. One thread; of several such loops one has the only partition.

    Args:
        lane: Reads the rollouts topic.
        log: The same topic from its beginning.
        aliases: Which versions are compared.
        make_judge: Makes a judge who has seen nothing, at a time on the clock.
        topic: The rollouts topic.
        clock: The clock.
        observer: Is told what happened.
        idle: The longest wait while nothing comes.
    """

    def __init__(
        self,
        lane: AssignedLane,
        log: RolloutLog,
        aliases: Aliases,
        *,
        make_judge: Callable[[int], RolloutJudge],
        topic: str,
        clock: Clock,
        observer: RolloutObserver,
        idle: timedelta = timedelta(milliseconds=100),
    ) -> None:
        self._lane = lane
        self._log = log
        self._aliases = aliases
        self._make_judge = make_judge
        self._topic = topic
        self._clock = clock
        self._observer = observer
        self._idle = idle
        self._seat: _Seat | None = None

    def turn(self) -> None:
        """Take evidence, decide, carry out. Blocks for about `idle` at most, or for one decision.

        Raises:
            FatalError: The judge cannot go on; nothing that was committed is affected.
            RequestError: A record is none of a rollout.
        """
        try:
            polled = self._lane.poll(_BATCH_RECORDS, self._idle)
            if polled.discard:
                self._seat = None
            if self._lane.assigned():
                self._judge(self._seat or self._take_seat(), polled.records)
        except TransientError as error:
            self._seat = None  # what was decided and not written is decided again
            self._observer.unreachable(str(error))

    def _take_seat(self) -> _Seat:
        """Begin from everything that was ever written: it is little, and compaction keeps it so."""
        seen, now_ms = self._log.read_all(), self._clock.wall_ms()
        judge = self._make_judge(now_ms)
        judge.take(map(read_rollout_record, seen.values), now_ms)
        self._seat = _Seat(judge, int(seen.offsets[-1]) + 1 if len(seen) else 0)
        return self._seat

    def _judge(self, seat: _Seat, records: RecordBatch) -> None:
        fresh = records.take(np.flatnonzero(records.offsets >= seat.next_offset))
        now_ms = self._clock.wall_ms()
        seat.judge.take(map(read_rollout_record, fresh.values), now_ms)
        if len(fresh):
            seat.next_offset = int(fresh.offsets[-1]) + 1
        if (pending := seat.judge.pending) is not None:
            self._publish(seat, carried_out(pending, self._aliases.carry_out(pending)))
        elif self._clock.monotonic() - seat.looked_at >= _LOOK_EVERY.total_seconds():
            self._look(seat, now_ms)

    def _look(self, seat: _Seat, now_ms: int) -> None:
        seat.looked_at = self._clock.monotonic()
        pairing = self._aliases.pairing()
        self._observer.compared(0 if pairing is None else seat.judge.counts(pairing, now_ms).pairs)
        decision = None if pairing is None else seat.judge.due(pairing, now_ms)
        if decision is not None:
            self._publish(seat, decision)

    def _publish(self, seat: _Seat, decision: Decision) -> None:
        started, now_ms = self._clock.monotonic(), self._clock.wall_ms()
        record = _record(self._topic, decision_key(decision), decision_value(decision), now_ms)
        self._lane.write([record], {TopicPartition(self._topic, 0): NextOffset(seat.next_offset)})
        outcome = self._lane.commit()
        self._observer.settled(ROLE, outcome, seconds=self._clock.monotonic() - started)
        if outcome is Outcome.COMMITTED:
            seat.judge.take([decision], now_ms)  # it comes back by the lane in a moment, and changes nothing then
            if decision.result is not Result.PENDING:
                self._observer.decided(decision)


def _record(topic: str, key: bytes, value: bytes, now_ms: int) -> OutputBatch:
    keys: Sequence[bytes] = [key]
    return OutputBatch(topic, np.zeros(1, np.int32), np.full(1, now_ms, np.int64), keys, [value])
