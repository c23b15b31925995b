"""Which label belongs to which prediction: the join of one partition's predictions and labels, in columns.

A label is about an event, so one entry per event holds the newest word on it, and a chain of rows holds what each
version predicted. Predictions and labels come in any order; whatever the order, the same contributions remain:

- the highest revision of a label counts, and of equal revisions the one that came first;
- of predictions of one event by one version the first one counts;
- whether a label is late is decided by its own time, never by the time of its arrival.

One exception to the first rule: if a label waits for its prediction and its highest revision proves to be late, lower
revisions that came before it are gone.
"""

from collections.abc import Sequence
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
from millrace.core.audit.held import NO_ROW, HeldEvents
from millrace.core.audit.windows import NO_TIME, WindowSpec, milliseconds

CREDITS: Final = ("duplicates", "corrections", "conflicts", "late")
"""What is counted about the records themselves, in the order of `Joined.credits`."""

_DUPLICATES, _CORRECTIONS, _CONFLICTS, _LATE = range(4)
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
        self.held: Final = HeldEvents(
            score_columns=score_columns,
            counters=len(CREDITS),
            max_events=max_events,
            bucket_ms=milliseconds(bucket),
        )

    def __len__(self) -> int:
        """How many events are held."""
        return len(self.held)

    def add_predictions(self, batch: Predictions) -> Joined:
        """Take predictions in; their labels may already wait here.

        Raises:
            FatalError: More events would be held than the bound allows; nothing was taken in.
        """
        expiry = self.held.bucket(batch.event_times_ms + self._retention_ms)
        in_time = expiry > self.held.expired_bucket
        rows = np.flatnonzero(in_time)
        ids = select(batch.event_ids, in_time)
        slots, created = self.held.slots(ids)
        is_fresh = self._are_new(slots, batch.versions[rows], created)
        fresh, fresh_slots = rows[is_fresh], slots[is_fresh]
        self.held.insert(batch, fresh, fresh_slots)
        self.held.schedule(fresh_slots, select(ids, is_fresh), expiry[fresh])
        late_waiting = self._refuse_waiting(fresh_slots, select(ids, is_fresh))
        place = Place(self.held.events["event_time"][fresh_slots], batch.versions[fresh], batch.segments[fresh])
        live = self.held.events["live"][fresh_slots]
        repeats_at, repeats = self._judge_repeats(batch, rows[~is_fresh], slots[~is_fresh])
        return Joined(
            fresh=fresh,
            labelled=self._labelled(fresh_slots[live], batch.predicted[fresh[live]], batch.scores[fresh[live]], sign=1),
            labelled_at=at(place, live),
            credits=np.concatenate((self.held.events["credits"][fresh_slots].astype(np.int64), repeats)),
            credits_at=join_places(place, repeats_at),
            late=np.flatnonzero(~in_time),
            late_waiting=late_waiting,
        )

    def add_labels(self, batch: Labels) -> Joined:
        """Take labels, corrections and retractions in; a label without a prediction waits for it.

        Raises:
            FatalError: More events would be held than the bound allows; nothing was taken in.
        """
        slots, created = self.held.slots(batch.event_ids)
        waits_until = np.maximum(
            self.held.bucket(batch.label_times_ms + self._orphan_ttl_ms), self.held.expired_bucket + 1
        )
        self.held.schedule(slots[created], select(batch.event_ids, created), waits_until[created])
        event_times = self.held.events["event_time"][slots]
        late = (event_times != NO_TIME) & self._is_late(event_times, batch.label_times_ms, batch.revisions)
        kept = np.flatnonzero(~late)
        winners, tallied = self._elect(batch, kept, slots[kept])
        changed = slots[winners]
        refused = np.zeros((int(late.sum()), len(CREDITS)), np.int64)
        refused[:, _LATE] = 1
        credited, tallied = np.concatenate((changed, slots[late])), np.concatenate((tallied, refused))
        np.add.at(self.held.events["credits"], credited, tallied.astype(np.int32))
        credits_of, rows = self.held.chain(credited)
        credits_at = self.held.place(credited[credits_of], rows)
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
        return self.held.drop(watermark_ms)

    def _is_late(
        self, event_times: NDArray[np.int64], label_times: NDArray[np.int64], revisions: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        allowed = self._label_horizon_ms + np.where(revisions > 0, self._correction_horizon_ms, 0)
        return np.asarray(label_times > event_times + allowed)

    def _are_new(
        self, slots: NDArray[np.int64], versions: NDArray[np.int64], created: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether each row is the first prediction of its event by its version."""
        if created.all():
            return created
        is_first = self.held.first_of_each(slots)
        if not is_first.all():
            is_first = np.zeros(len(slots), np.bool_)
            is_first[np.unique(np.stack((slots, versions)), axis=1, return_index=True)[1]] = True
        unsure = np.flatnonzero(is_first & ~created)
        is_first[unsure] = self.held.find(slots[unsure], versions[unsure]) == NO_ROW
        return is_first

    def _refuse_waiting(self, slots: NDArray[np.int64], ids: Sequence[bytes]) -> Sequence[bytes]:
        """Turn away labels that waited for these predictions and prove to be late."""
        events = self.held.events
        revisions = events["revision"][slots]
        late = (revisions != NO_ROW) & self._is_late(
            events["event_time"][slots], events["label_time"][slots], revisions
        )
        if not late.any():
            return ()
        late &= self.held.first_of_each(slots)
        refused = slots[late]
        events["revision"][refused] = NO_ROW
        events["live"][refused] = False
        events["seen"][refused] = 0
        events["credits"][refused, _LATE] += 1
        return select(ids, late)

    def _judge_repeats(
        self, batch: Predictions, rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[Place, NDArray[np.int64]]:
        """Count predictions of events that their version has already predicted: repeated, or contradicted."""
        known = self.held.find(slots, batch.versions[rows])
        same = (self.held.rows["predicted"][known] == batch.predicted[rows]) & (
            self.held.rows["scores"][known] == batch.scores[rows]
        ).all(axis=1)
        tallied = np.zeros((len(rows), len(CREDITS)), np.int64)
        tallied[:, _DUPLICATES] = same
        tallied[:, _CONFLICTS] = ~same
        return self.held.place(slots, known), tallied

    def _elect(
        self, batch: Labels, kept: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the kept rows the newest word on each event, and what to count about the event's rows."""
        bits = np.left_shift(np.uint64(1), np.minimum(batch.revisions[kept], _LAST_BIT).astype(np.uint64))
        counts, clashes, winners = np.ones(len(kept), np.int64), np.zeros(len(kept), np.int64), kept
        if not self.held.first_of_each(slots).all():
            order = np.lexsort((kept, -batch.revisions[kept], slots))
            starts = np.flatnonzero(np.diff(slots[order], prepend=-1))
            counts = np.diff(starts, append=len(order))
            winners, ordered = kept[order[starts]], kept[order]
            rivals = np.repeat(winners, counts)
            same_rank = batch.revisions[ordered] == batch.revisions[rivals]
            clashes = np.add.reduceat((same_rank & ~_says_the_same(batch, ordered, rivals)).astype(np.int64), starts)
            bits, slots = np.bitwise_or.reduceat(bits[order], starts), slots[order[starts]]
        seen, events = self.held.events["seen"][slots], self.held.events
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
        events = self.held.events
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
        of, rows = self.held.chain(slots)
        slots = slots[of]
        return self.held.place(slots, rows), self._labelled(
            slots, self.held.rows["predicted"][rows].astype(np.int64), self.held.rows["scores"][rows], sign=sign
        )

    def _labelled(
        self, slots: NDArray[np.int64], predicted: NDArray[np.int64], scores: NDArray[np.float64], *, sign: int
    ) -> LabelledColumns:
        events = self.held.events
        delays = events["label_time"][slots] - events["event_time"][slots]
        signs, labels, weights = np.full(len(slots), sign, np.int64), events["label"][slots], events["weight"][slots]
        return LabelledColumns(signs, predicted, labels, scores, delays, weights)


def _says_the_same(batch: Labels, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    both = batch.retracted[a] == batch.retracted[b]
    return np.asarray(both & (batch.retracted[a] | (batch.labels[a] == batch.labels[b])))
