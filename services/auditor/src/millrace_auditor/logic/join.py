"""The loop of the join: predictions and labels in, evidence out, one transaction for all of it.

Predictions come by the lane, whose consumer group says which partitions are this worker's; labels of the same
partitions are read beside it. Where the labels go on is part of the snapshot, so the lane's transaction settles both.

Two logs are read at one pace: predictions wait while labels are behind them in event time and there are more to read.
Otherwise a worker that catches up would take every label that it has not reached yet for one that never came.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from millrace.codec.evidence import (
    Progress,
    Unjoined,
    pane_key,
    pane_value,
    progress_key,
    progress_value,
    unjoined_value,
)
from millrace.core.audit.partition import Refused
from millrace.core.audit.windows import NO_TIME, WindowSpec
from millrace.core.clock import Clock
from millrace.core.errors import TransientError
from millrace.core.lane import Discard, Outcome, Polled
from millrace.core.records import NextOffset, OutputBatch, RecordBatch, TopicPartition
from millrace_auditor.logic.counting import REPORTS, Counting
from millrace_auditor.logic.partition import LayoutOf, PartitionState, restore
from millrace_auditor.logic.ports import AssignedLane, Columns, LabelLog, Observer, Shelf

_AT_ONCE: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class JoinTopics:
    """Where the join reads and writes, and the model whose predictions it counts."""

    model: str
    predictions: str
    evidence: str
    unjoined: str
    state: str


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What the join needs to know beside windows and horizons.

    Attributes:
        max_events: The most events held per partition.
        score_columns: Scores kept per prediction.
        batch_records: The most records of one read.
        idle: The longest wait while nothing comes.
        transaction_age: The least time between two transactions.
        snapshot_share: The most of a worker's time that transactions may take: a large state is written less often.
    """

    max_events: int
    score_columns: int
    batch_records: int = 20_000
    idle: timedelta = timedelta(milliseconds=100)
    transaction_age: timedelta = timedelta(seconds=1)
    snapshot_share: float = 0.1


@dataclass(frozen=True, slots=True)
class _SetAside:
    """A record of the unjoined topic, to be written."""

    partition: int
    event_id: str
    why: Unjoined
    source: str | None = None


class JoinLoop:
    """One worker's join. One thread."""

    def __init__(
        self,
        lane: AssignedLane,
        labels: LabelLog,
        shelf: Shelf,
        *,
        columns: Columns,
        layout_of: LayoutOf,
        spec: WindowSpec,
        topics: JoinTopics,
        settings: JoinSettings,
        clock: Clock,
        observer: Observer,
        counting: Counting = REPORTS,
    ) -> None:
        self._counting = counting
        self._lane = lane
        self._labels = labels
        self._shelf = shelf
        self._columns = columns
        self._layout_of = layout_of
        self._spec = spec
        self._topics = topics
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._states: dict[int, PartitionState] = {}
        self._set_aside: list[_SetAside] = []
        self._committed_at = clock.monotonic()
        self._commit_cost = 0.0
        self._is_paused = False
        self._is_taken_up = True

    def turn(self) -> None:
        """Read once, join, and settle when it is time. Blocks for about `idle` at most, or for one transaction.

        Raises:
            FatalError: The join cannot go on; nothing that was committed is affected.
            RequestError: A version that predicted is not in the registry.
        """
        try:
            polled = self._poll()
        except TransientError as error:
            self._observer.unreachable(str(error))
            return
        self._obey(polled.discard)
        try:
            self._take_up()
            self._join(polled.records)
            if self._is_due():
                self._commit()
        except TransientError as error:
            self._lane.abort()  # part of it may be counted already: all since the last commit comes again
            self._observer.unreachable(str(error))

    def finish(self) -> None:
        """Settle what has been joined. The loop is over then."""
        if any(state.is_dirty for state in self._states.values()):
            self._commit()

    def _join(self, records: RecordBatch) -> None:
        self._join_predictions(records)
        self._read_labels(had_predictions=len(records) > 0)
        self._advance()

    def _poll(self) -> Polled:
        lags = self._labels_lag()
        if lags != self._is_paused:
            (self._lane.pause if lags else self._lane.resume)()
            self._is_paused = lags
        return self._lane.poll(self._settings.batch_records, _AT_ONCE if lags else self._settings.idle)

    def _labels_lag(self) -> bool:
        return not all(map(self._is_level, self._states.values()))

    def _is_level(self, state: PartitionState) -> bool:
        """Whether no label that is there already is older than the newest prediction."""
        return state.has_labels_until_now() or self._labels.is_caught_up(state.number)

    def _obey(self, discard: Discard) -> None:
        """Forget what is another worker's now, or what the lane went back behind; it comes back from its snapshot."""
        if not discard:
            return
        self._is_taken_up = False
        gone = set(self._states) if discard.everything else {p.partition for p in discard.partitions}
        for number in gone:
            self._states.pop(number, None)
        self._set_aside = [each for each in self._set_aside if each.partition not in gone]

    def _take_up(self) -> None:
        """Continue partitions from the snapshots that their last owner committed."""
        wanted = {partition.partition for partition in self._lane.assigned()}
        if self._is_taken_up and wanted == self._states.keys():
            return
        for number in sorted(wanted - self._states.keys()):
            self._states[number] = self._restored(number)
            self._observer.restored(
                self._counting.role, {"partition": number, "events": len(self._states[number].audit.join)}
            )
        self._labels.start({number: state.position.next_label for number, state in self._states.items()})
        self._is_taken_up = True

    def _restored(self, number: int) -> PartitionState:
        bound, counting, records = self._settings.max_events, self._counting, self._shelf.load(number)
        state = restore(number, self._spec, records, self._layout_of, max_events=bound, counting=counting)
        if state is not None:
            return state
        columns = self._settings.score_columns
        return PartitionState.begin(number, self._spec, score_columns=columns, max_events=bound, counting=counting)

    def _join_predictions(self, records: RecordBatch) -> None:
        for number in np.unique(records.partitions).tolist():
            state = self._states[number]
            rows = (records.partitions == number) & (records.offsets >= state.position.next_prediction)
            if rows.any():
                self._count_predictions(state, records.take(np.flatnonzero(rows)))
        # Only now: a label that was written before one of these predictions lies before these ends.
        self._labels.look(np.unique(records.partitions).tolist())

    def _count_predictions(self, state: PartitionState, records: RecordBatch) -> None:
        read = self._columns.predictions(records)
        reasons: Counter[str] = Counter()
        for version, block in sorted(read.blocks.items()):
            refused = state.add_predictions(version, block, self._layout_of)
            ids = [block.columns.event_ids[row] for row in refused.late.tolist()]
            at = [f"{records.topic}-{state.number}-{block.offsets[row]}" for row in refused.late.tolist()]
            reasons += self._put_aside(state, ids, Unjoined.LATE_PREDICTION, at)
            reasons += self._put_aside(state, refused.late_waiting, Unjoined.LATE_LABEL)
        reasons += self._refuse(state, records, read.unreadable)
        state.position.next_prediction = int(records.offsets[-1]) + 1
        state.is_dirty = True
        counted = sum(len(block.offsets) for block in read.blocks.values())
        self._observer.joined(counted, 0, unjoined=reasons, others=read.others)

    def _read_labels(self, *, had_predictions: bool) -> None:
        """Read labels, unless they are ahead of predictions that have still to be read."""
        if not self._states or not (self._counting.reads_ahead or self._labels_lag()):
            return
        caught_up = all(map(self._labels.is_caught_up, self._states))
        if had_predictions and not (caught_up or self._labels_lag()):
            return
        patience = self._settings.idle if self._labels_lag() else _AT_ONCE
        records = self._labels.read(self._settings.batch_records, patience)
        for number in np.unique(records.partitions).tolist():
            self._count_labels(self._states[number], records.take(np.flatnonzero(records.partitions == number)))

    def _count_labels(self, state: PartitionState, records: RecordBatch) -> None:
        read = self._columns.labels(records)
        refused: Refused = state.add_labels(read)
        state.position.next_label = int(records.offsets[-1]) + 1
        ids = [read.columns.event_ids[row] for row in refused.late.tolist()]
        at = [f"{records.topic}-{state.number}-{read.offsets[row]}" for row in refused.late.tolist()]
        reasons = self._put_aside(state, ids, Unjoined.LATE_LABEL, at)
        reasons += self._refuse(state, records, read.unreadable)
        self._observer.joined(0, len(read.offsets), unjoined=reasons, others=0)

    def _refuse(self, state: PartitionState, records: RecordBatch, rows: Sequence[int]) -> Counter[str]:
        return self._put_aside(
            state, [b""] * len(rows), Unjoined.UNREADABLE, [str(records.coordinates(row)) for row in rows]
        )

    def _put_aside(
        self, state: PartitionState, ids: Sequence[bytes], why: Unjoined, sources: Sequence[str] | None = None
    ) -> Counter[str]:
        places: Sequence[str | None] = sources or [None] * len(ids)
        for event_id, source in zip(ids, places, strict=True):
            self._set_aside.append(_SetAside(state.number, event_id.decode(), why, source))
        return Counter({why.value: len(ids)} if ids else {})

    def _advance(self) -> None:
        for state in self._states.values():
            if self._is_level(state):
                reasons = self._put_aside(state, state.advance(), Unjoined.ORPHAN)
                if reasons:
                    self._observer.joined(0, 0, unjoined=reasons, others=0)

    def _is_due(self) -> bool:
        elapsed = self._clock.monotonic() - self._committed_at
        least = max(
            self._settings.transaction_age.total_seconds(), self._commit_cost * (1 / self._settings.snapshot_share - 1)
        )
        return elapsed >= least and any(state.is_dirty for state in self._states.values())

    def _commit(self) -> None:
        """Publish evidence, snapshots and what was set aside, with the offsets that they were made of."""
        started = self._clock.monotonic()
        dirty = [state for state in self._states.values() if state.is_dirty]
        outputs = [self._evidence(dirty), self._snapshots(dirty), self._unjoined()]
        # Offsets of all partitions, moved or not: with them the broker checks that this worker is still a member.
        offsets = {
            TopicPartition(self._topics.predictions, state.number): NextOffset(state.position.next_prediction)
            for state in self._states.values()
        }
        self._lane.write([batch for batch in outputs if len(batch)], offsets)
        outcome = self._lane.commit()
        if outcome is Outcome.COMMITTED:
            for state in dirty:
                state.is_dirty = False
            self._set_aside.clear()
        self._committed_at = self._clock.monotonic()
        self._commit_cost = self._committed_at - started
        self._observer.settled(self._counting.role, outcome, seconds=self._commit_cost)
        self._report_memory()

    def _evidence(self, states: Sequence[PartitionState]) -> OutputBatch:
        keys: list[bytes] = []
        values: list[bytes] = []
        for state in states:
            for key, span, pane in state.take_changed():
                keys.append(pane_key(key, state.number))
                values.append(pane_value(self._topics.model, key, state.number, span, pane))
            if state.position.reached_ms != NO_TIME:
                # After its panes: whoever sees how far a partition has come has seen what it counted until then.
                keys.append(progress_key(state.number))
                position = state.position
                values.append(progress_value(Progress(state.number, position.reached_ms, position.next_label)))
        return self._batch(self._topics.evidence, [0] * len(keys), keys, values)

    def _snapshots(self, states: Sequence[PartitionState]) -> OutputBatch:
        written = [(state.number, key, value) for state in states for key, value in state.snapshot()]
        numbers, keys, values = zip(*written, strict=True) if written else ((), (), ())
        return self._batch(self._topics.state, numbers, keys, values)

    def _unjoined(self) -> OutputBatch:
        aside = self._set_aside
        values = [unjoined_value(each.event_id, each.why, each.source) for each in aside]
        keys = [each.event_id.encode() for each in aside]
        return self._batch(self._topics.unjoined, [each.partition for each in aside], keys, values)

    def _batch(
        self, topic: str, partitions: Sequence[int], keys: Sequence[bytes], values: Sequence[bytes]
    ) -> OutputBatch:
        now = np.full(len(values), self._clock.wall_ms(), np.int64)
        return OutputBatch(topic, np.array(partitions, np.int32), now, keys, values)

    def _report_memory(self) -> None:
        joins = [state.audit.join for state in self._states.values()]
        behind = [
            state.position.newest_event_ms - state.position.reached_ms
            for state in self._states.values()
            if state.position.reached_ms != NO_TIME
        ]
        self._observer.held(
            sum(map(len, joins)), sum(join.held.size_bytes for join in joins), behind_secs=max(behind, default=0) / 1000
        )
