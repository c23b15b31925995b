"""Which label belongs to which prediction: the join of one partition's predictions and labels, in columns.

A label is about an event, so one entry per event holds the newest word on it, and a chain of rows holds what each
version predicted. Predictions and labels come in any order; whatever the order, the same contributions remain:

- the highest revision of a label counts, and of equal revisions the one that came first;
- of predictions of one event by one version the first one counts;
- whether a label is late is decided by its own time, never by the time of its arrival.

One exception to the first rule: if a label waits for its prediction and its highest revision proves to be late, lower
revisions that came before it are gone.

An event is one entry in a dictionary from id to row: measured against sorted arrays of hashes it is the slower look-up
but it verifies ids, needs no merging, and expiry is one pass over a list. Entries of one time bucket expire together.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import (
    Joined,
    LabelledColumns,
    Labels,
    Place,
    Predictions,
    at,
    join_columns,
    join_places,
    select,
)
from millrace.core.audit.roomy import make_room
from millrace.core.audit.table import Table
from millrace.core.audit.windows import NO_TIME, WindowSpec, milliseconds
from millrace.core.errors import FatalError

CREDITS: Final = ("duplicates", "corrections", "conflicts", "late")
"""What is counted about the records themselves, in the order of `Joined.credits`."""

_DUPLICATES, _CORRECTIONS, _CONFLICTS, _LATE = range(4)
_NONE: Final = -1
_LAST_BIT: Final = 63


class Join:
    """The join state of one partition. Bounded in events; the owner calls `expire` as the watermark advances.

    Args:
        spec: Horizons.
        score_columns: Scores kept per prediction, the most of any version.
        max_events: The most events held at once; about 0.4 kB each.
        bucket: Events expire together in buckets of this length.
    """

    def __init__(
        self,
        spec: WindowSpec,
        *,
        score_columns: int = 1,
        max_events: int = 4_000_000,
        bucket: timedelta = timedelta(minutes=1),
    ) -> None:
        self._label_horizon_ms = milliseconds(spec.label_horizon)
        self._correction_horizon_ms = milliseconds(spec.correction_horizon)
        self._orphan_ttl_ms = milliseconds(spec.orphan_ttl)
        self._retention_ms = spec.retention_ms
        self._bucket_ms = milliseconds(bucket)
        self._max_events = max_events
        self.score_columns: Final = score_columns
        self.index: Final[dict[bytes, int]] = {}
        self.expired_bucket = NO_TIME
        self._buckets: dict[int, list[tuple[NDArray[np.int64], Sequence[bytes]]]] = {}
        self.events: Final = Table(
            {
                "event_time": np.int64(NO_TIME),
                "bucket": np.int64(NO_TIME),
                "first": np.int64(_NONE),
                "label": np.float64(np.nan),
                "label_time": np.int64(NO_TIME),
                "weight": np.float64(1.0),
                "revision": np.int64(_NONE),
                "live": np.bool_(False),  # noqa: FBT003 - a blank value, not an option
                "seen": np.uint64(0),  # one bit per revision, so that repeats and corrections are told apart
                "credits": np.zeros(len(CREDITS), np.int32),
                "mark": np.int64(0),
            }
        )
        self.rows: Final = Table(
            {
                "version": np.int32(0),
                "segment": np.int32(0),
                "predicted": np.int32(0),
                "scores": np.zeros(score_columns, np.float64),
                "next": np.int64(_NONE),
            }
        )

    def __len__(self) -> int:
        """How many events are held."""
        return len(self.index)

    @property
    def size_bytes(self) -> int:
        """Memory of the columns, without the ids and their dictionary."""
        return self.events.size_bytes + self.rows.size_bytes

    def add_predictions(self, batch: Predictions) -> Joined:
        """Take predictions in; their labels may already wait here.

        Raises:
            FatalError: More events would be held than the bound allows; nothing was taken in.
        """
        expiry = self._bucket(batch.event_times_ms + self._retention_ms)
        in_time = expiry > self.expired_bucket
        rows = np.flatnonzero(in_time)
        ids = select(batch.event_ids, in_time)
        slots, created = self._slots(ids)
        is_fresh = self._are_new(slots, batch.versions[rows], created)
        fresh, fresh_slots = rows[is_fresh], slots[is_fresh]
        self._insert(batch, fresh, fresh_slots)
        self._schedule(fresh_slots, select(ids, is_fresh), expiry[fresh])
        late_waiting = self._refuse_waiting(fresh_slots, select(ids, is_fresh))
        place = Place(self.events["event_time"][fresh_slots], batch.versions[fresh], batch.segments[fresh])
        live = self.events["live"][fresh_slots]
        repeats_at, repeats = self._judge_repeats(batch, rows[~is_fresh], slots[~is_fresh])
        return Joined(
            fresh=fresh,
            labelled=self._labelled(fresh_slots[live], batch.predicted[fresh[live]], batch.scores[fresh[live]], sign=1),
            labelled_at=at(place, live),
            credits=np.concatenate((self.events["credits"][fresh_slots].astype(np.int64), repeats)),
            credits_at=join_places(place, repeats_at),
            late=np.flatnonzero(~in_time),
            late_waiting=late_waiting,
        )

    def add_labels(self, batch: Labels) -> Joined:
        """Take labels, corrections and retractions in; a label without a prediction waits for it.

        Raises:
            FatalError: More events would be held than the bound allows; nothing was taken in.
        """
        slots, created = self._slots(batch.event_ids)
        waits_until = np.maximum(self._bucket(batch.label_times_ms + self._orphan_ttl_ms), self.expired_bucket + 1)
        self._schedule(slots[created], select(batch.event_ids, created), waits_until[created])
        event_times = self.events["event_time"][slots]
        late = (event_times != NO_TIME) & self._is_late(event_times, batch.label_times_ms, batch.revisions)
        kept = np.flatnonzero(~late)
        winners, tallied = self._elect(batch, kept, slots[kept])
        changed = slots[winners]
        refused = np.zeros((int(late.sum()), len(CREDITS)), np.int64)
        refused[:, _LATE] = 1
        credited, tallied = np.concatenate((changed, slots[late])), np.concatenate((tallied, refused))
        np.add.at(self.events["credits"], credited, tallied.astype(np.int32))
        credits_at, credits_of, _ = self._chain(credited)
        taken_back_at, taken_back, applies = self._replace_labels(batch, winners, changed)
        added_at, added = self._contributions(changed[applies & ~batch.retracted[winners]], sign=1)
        return Joined(
            fresh=np.empty(0, np.int64),
            labelled=join_columns(taken_back, added),
            labelled_at=join_places(taken_back_at, added_at),
            credits=tallied[credits_of],
            credits_at=credits_at,
            late=np.flatnonzero(late),
        )

    def expire(self, watermark_ms: int) -> list[bytes]:
        """Drop every event that no label can change any more, whole buckets at a time.

        Returns:
            The events whose label waited in vain, for the late topic.
        """
        self.expired_bucket = max(self.expired_bucket, watermark_ms // self._bucket_ms - 1)
        orphans: list[bytes] = []
        for bucket in sorted(b for b in self._buckets if b <= self.expired_bucket):
            for listed, listed_ids in self._buckets.pop(bucket):
                # An event that was listed again for a later bucket is dropped there.
                here = self.events["bucket"][listed] == bucket
                slots, ids = listed[here], select(listed_ids, here)
                deque(map(self.index.__delitem__, ids), maxlen=0)
                alone = self.events["first"][slots] == _NONE
                orphans.extend(select(ids, alone))
                _, _, rows = self._chain(slots)
                self.rows.give_back(rows)
                self.events.give_back(slots)
        return orphans

    def predictions_of(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every prediction of these events, as the position of its event in `slots` and its own row."""
        _, positions, rows = self._chain(slots)
        return positions, rows

    def fill(
        self,
        ids: list[bytes],
        events: Mapping[str, NDArray[np.generic]],
        owners: NDArray[np.int64],
        rows: Mapping[str, NDArray[np.generic]],
    ) -> None:
        """Make an empty join hold these events and predictions; `owners` are the predictions' positions in `ids`."""
        slots, _ = self._slots(ids)
        for name, column in events.items():
            self.events[name][slots] = column
        table, new = self.rows, self.rows.take(len(owners))
        for name, column in rows.items():
            table[name][new] = column
        self._link(new, slots[owners])
        buckets = self.events["bucket"][slots]
        self.events["bucket"][slots] = NO_TIME  # so that every event is listed again
        self._schedule(slots, ids, buckets)

    def _bucket(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        return times_ms // self._bucket_ms

    def _is_late(
        self, event_times: NDArray[np.int64], label_times: NDArray[np.int64], revisions: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        allowed = self._label_horizon_ms + np.where(revisions > 0, self._correction_horizon_ms, 0)
        return np.asarray(label_times > event_times + allowed)

    def _slots(self, ids: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The event row of every id, and whether this id was met here for the first time."""
        if len(self.index) + len(ids) > self._max_events:
            raise FatalError(
                f"the join holds {len(self.index)} events of one partition and may hold {self._max_events}",
                remedy="shorten the label horizon, add partitions, or raise the bound if there is memory",
            )
        candidates = self.events.take(len(ids))
        slots = np.fromiter(map(self.index.setdefault, ids, candidates.tolist()), np.int64, len(ids))
        created = slots == candidates
        self.events.blank(candidates[created])
        self.events.give_back(candidates[~created])
        make_room(self.index)
        return slots, created

    def _schedule(self, slots: NDArray[np.int64], ids: Sequence[bytes], buckets: NDArray[np.int64]) -> None:
        """List events for expiry, never earlier than they are listed already."""
        current = self.events["bucket"]
        later = buckets > current[slots]
        if not later.all():
            slots, ids, buckets = slots[later], select(ids, later), buckets[later]
        np.maximum.at(current, slots, buckets)
        # Of several rows of one event the latest bucket holds, and lists it once.
        holds = buckets == current[slots]
        slots, ids, buckets = slots[holds], select(ids, holds), buckets[holds]
        once = self._first_of_each(slots)
        for bucket in np.unique(buckets).tolist():
            here = once & (buckets == bucket)
            self._buckets.setdefault(bucket, []).append((slots[here], select(ids, here)))

    def _first_of_each(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each row is the first of this batch with its slot. No sort: the last write to a mark wins."""
        mark, order = self.events["mark"], np.arange(len(slots))
        mark[slots[::-1]] = order[::-1]
        return np.asarray(mark[slots] == order)

    def _are_new(
        self, slots: NDArray[np.int64], versions: NDArray[np.int64], created: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether each row is the first prediction of its event by its version."""
        if created.all():
            return created
        is_first = self._first_of_each(slots)
        if not is_first.all():
            is_first = np.zeros(len(slots), np.bool_)
            is_first[np.unique(np.stack((slots, versions)), axis=1, return_index=True)[1]] = True
        unsure = np.flatnonzero(is_first & ~created)
        is_first[unsure] = self._find(slots[unsure], versions[unsure]) == _NONE
        return is_first

    def _find(self, slots: NDArray[np.int64], versions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The prediction row of each event by each version, or -1."""
        found = np.full(len(slots), _NONE, np.int64)
        rows = self.events["first"][slots]
        while (rows != _NONE).any():
            same = (rows != _NONE) & (self.rows["version"][rows] == versions)
            found[same] = rows[same]
            rows = np.where(rows == _NONE, _NONE, self.rows["next"][rows])
        return found

    def _insert(self, batch: Predictions, rows: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        table, new = self.rows, self.rows.take(len(rows))
        table["version"][new] = batch.versions[rows]
        table["segment"][new] = batch.segments[rows]
        table["predicted"][new] = batch.predicted[rows]
        table["scores"][new] = batch.scores[rows]
        self._link(new, slots)
        times = self.events["event_time"]
        unset = times[slots] == NO_TIME
        times[slots[unset]] = batch.event_times_ms[rows[unset]]

    def _link(self, new: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Put new prediction rows at the heads of their events' chains."""
        first, following = self.events["first"], self.rows["next"]
        left = np.arange(len(new))
        while len(left):  # once, or once per version where several predict one event in one batch
            heads = self._first_of_each(slots[left])
            linked = left[heads]
            following[new[linked]] = first[slots[linked]]
            first[slots[linked]] = new[linked]
            left = left[~heads]

    def _refuse_waiting(self, slots: NDArray[np.int64], ids: Sequence[bytes]) -> Sequence[bytes]:
        """Turn away labels that waited for these predictions and prove to be late."""
        events = self.events
        revisions = events["revision"][slots]
        late = (revisions != _NONE) & self._is_late(events["event_time"][slots], events["label_time"][slots], revisions)
        if not late.any():
            return ()
        late &= self._first_of_each(slots)
        refused = slots[late]
        events["revision"][refused] = _NONE
        events["live"][refused] = False
        events["seen"][refused] = 0
        events["credits"][refused, _LATE] += 1
        return select(ids, late)

    def _judge_repeats(
        self, batch: Predictions, rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[Place, NDArray[np.int64]]:
        """Count predictions of events that their version has already predicted: repeated, or contradicted."""
        known = self._find(slots, batch.versions[rows])
        same = (self.rows["predicted"][known] == batch.predicted[rows]) & (
            self.rows["scores"][known] == batch.scores[rows]
        ).all(axis=1)
        tallied = np.zeros((len(rows), len(CREDITS)), np.int64)
        tallied[:, _DUPLICATES] = same
        tallied[:, _CONFLICTS] = ~same
        return self._place(slots, known), tallied

    def _elect(
        self, batch: Labels, kept: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the kept rows the newest word on each event, and what to count about the event's rows."""
        bits = np.left_shift(np.uint64(1), np.minimum(batch.revisions[kept], _LAST_BIT).astype(np.uint64))
        counts, clashes, winners = np.ones(len(kept), np.int64), np.zeros(len(kept), np.int64), kept
        if not self._first_of_each(slots).all():
            order = np.lexsort((kept, -batch.revisions[kept], slots))
            starts = np.flatnonzero(np.diff(slots[order], prepend=-1))
            counts = np.diff(starts, append=len(order))
            winners, ordered = kept[order[starts]], kept[order]
            rivals = np.repeat(winners, counts)
            same_rank = batch.revisions[ordered] == batch.revisions[rivals]
            clashes = np.add.reduceat((same_rank & ~_says_the_same(batch, ordered, rivals)).astype(np.int64), starts)
            bits, slots = np.bitwise_or.reduceat(bits[order], starts), slots[order[starts]]
        seen, events = self.events["seen"][slots], self.events
        same_rank = batch.revisions[winners] == events["revision"][slots]
        differs = (events["live"][slots] == batch.retracted[winners]) | (
            events["live"][slots] & (events["label"][slots] != batch.labels[winners])
        )
        newly = np.bitwise_count(bits & ~seen).astype(np.int64)
        tallied = np.zeros((len(winners), len(CREDITS)), np.int64)
        tallied[:, _CORRECTIONS] = newly - (seen == 0)
        tallied[:, _CONFLICTS] = clashes + (same_rank & differs)
        tallied[:, _DUPLICATES] = counts - newly - tallied[:, _CONFLICTS]
        events["seen"][slots] = seen | bits
        return winners, tallied

    def _replace_labels(
        self, batch: Labels, winners: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[Place, LabelledColumns, NDArray[np.bool_]]:
        """Let winners of a higher revision stand. Returns what to take back for it, and which winners these are."""
        events = self.events
        applies = batch.revisions[winners] > events["revision"][slots]
        at, taken_back = self._contributions(slots[applies & events["live"][slots]], sign=-1)
        rows, slots = winners[applies], slots[applies]
        events["label"][slots] = batch.labels[rows]
        events["label_time"][slots] = batch.label_times_ms[rows]
        events["weight"][slots] = 1.0 if batch.weights is None else batch.weights[rows]
        events["revision"][slots] = batch.revisions[rows]
        events["live"][slots] = ~batch.retracted[rows]
        return at, taken_back, applies

    def _contributions(self, slots: NDArray[np.int64], *, sign: int) -> tuple[Place, LabelledColumns]:
        """Every prediction of these events with the label that stands now."""
        at, of, rows = self._chain(slots)
        return at, self._labelled(
            slots[of], self.rows["predicted"][rows].astype(np.int64), self.rows["scores"][rows], sign=sign
        )

    def _labelled(
        self, slots: NDArray[np.int64], predicted: NDArray[np.int64], scores: NDArray[np.float64], *, sign: int
    ) -> LabelledColumns:
        events = self.events
        delays = events["label_time"][slots] - events["event_time"][slots]
        signs, labels, weights = np.full(len(slots), sign, np.int64), events["label"][slots], events["weight"][slots]
        return LabelledColumns(signs, predicted, labels, scores, delays, weights)

    def _chain(self, slots: NDArray[np.int64]) -> tuple[Place, NDArray[np.int64], NDArray[np.int64]]:
        """Every prediction of these events: its pane, the position of its event in `slots`, its row."""
        of, rows = np.arange(len(slots)), self.events["first"][slots]
        positions: list[NDArray[np.int64]] = []
        chains: list[NDArray[np.int64]] = []
        while len(rows):
            exists = rows != _NONE
            of, rows = of[exists], rows[exists]
            positions.append(of)
            chains.append(rows)
            rows = self.rows["next"][rows]
        of, rows = (np.concatenate(p) if p else np.empty(0, np.int64) for p in (positions, chains))
        return self._place(slots[of], rows), of, rows

    def _place(self, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> Place:
        return Place(
            self.events["event_time"][slots],
            self.rows["version"][rows].astype(np.int64),
            self.rows["segment"][rows].astype(np.int64),
        )


def _says_the_same(batch: Labels, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    both = batch.retracted[a] == batch.retracted[b]
    return np.asarray(both & (batch.retracted[a] | (batch.labels[a] == batch.labels[b])))
