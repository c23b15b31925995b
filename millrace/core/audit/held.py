"""The events that a join holds: what is known of each, a chain of what each version predicted, and when it expires.

An event is one entry in a dictionary from id to row: measured against sorted arrays of hashes it is the slower look-up
but it verifies ids, needs no merging, and expiry is one pass over a list. Entries of one time bucket expire together.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import Place, Predictions, select
from millrace.core.audit.roomy import make_room
from millrace.core.audit.table import Table
from millrace.core.audit.windows import NO_TIME
from millrace.core.errors import FatalError

NO_ROW: Final = -1


class HeldEvents:
    """Events of one partition in columns; a slot is an event's row in `events`.

    Args:
        score_columns: Scores kept per prediction, the most of any version.
        counters: How many things are counted about an event.
        max_events: The most events held at once; about 0.4 kB each.
        bucket_ms: Events expire together in buckets of this length.

    Attributes:
        index: From id to slot.
        events: What is known of each event.
        rows: Predictions; those of one event are a chain, newest first.
        expired_bucket: Buckets up to this one are gone.
    """

    def __init__(self, *, score_columns: int, counters: int, max_events: int, bucket_ms: int) -> None:
        self.score_columns: Final = score_columns
        self.index: Final[dict[bytes, int]] = {}
        self.expired_bucket = NO_TIME
        self._max_events = max_events
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, list[tuple[NDArray[np.int64], Sequence[bytes]]]] = {}
        self.events: Final = Table(
            {
                "event_time": np.int64(NO_TIME),
                "bucket": np.int64(NO_TIME),
                "first": np.int64(NO_ROW),
                "label": np.float64(np.nan),
                "label_time": np.int64(NO_TIME),
                "weight": np.float64(1.0),
                "revision": np.int64(NO_ROW),
                "live": np.bool_(False),  # noqa: FBT003 - a blank value, not an option
                "seen": np.uint64(0),  # one bit per revision, so that repeats and corrections are told apart
                "credits": np.zeros(counters, np.int32),
                "mark": np.int64(0),
            }
        )
        self.rows: Final = Table(
            {
                "version": np.int32(0),
                "segment": np.int32(0),
                "predicted": np.int32(0),
                "scores": np.zeros(score_columns, np.float64),
                "next": np.int64(NO_ROW),
            }
        )

    def __len__(self) -> int:
        """How many events are held."""
        return len(self.index)

    @property
    def size_bytes(self) -> int:
        """Memory of the columns, without the ids and their dictionary."""
        return self.events.size_bytes + self.rows.size_bytes

    def bucket(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bucket of each time."""
        return times_ms // self._bucket_ms

    def slots(self, ids: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The slot of every id, and whether this id was met here for the first time.

        Raises:
            FatalError: More events would be held than the bound allows; nothing was taken in.
        """
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

    def schedule(self, slots: NDArray[np.int64], ids: Sequence[bytes], buckets: NDArray[np.int64]) -> None:
        """List events for expiry, never earlier than they are listed already."""
        current = self.events["bucket"]
        later = buckets > current[slots]
        if not later.all():
            slots, ids, buckets = slots[later], select(ids, later), buckets[later]
        np.maximum.at(current, slots, buckets)
        # Of several rows of one event the latest bucket holds, and lists it once.
        holds = buckets == current[slots]
        slots, ids, buckets = slots[holds], select(ids, holds), buckets[holds]
        once = self.first_of_each(slots)
        for bucket in np.unique(buckets).tolist():
            here = once & (buckets == bucket)
            self._buckets.setdefault(bucket, []).append((slots[here], select(ids, here)))

    def drop(self, watermark_ms: int) -> list[bytes]:
        """Drop the buckets before this time; returns the events among them that nobody has predicted."""
        self.expired_bucket = max(self.expired_bucket, watermark_ms // self._bucket_ms - 1)
        orphans: list[bytes] = []
        for bucket in sorted(b for b in self._buckets if b <= self.expired_bucket):
            for listed, listed_ids in self._buckets.pop(bucket):
                # An event that was listed again for a later bucket is dropped there.
                here = self.events["bucket"][listed] == bucket
                slots, ids = listed[here], select(listed_ids, here)
                deque(map(self.index.__delitem__, ids), maxlen=0)
                alone = self.events["first"][slots] == NO_ROW
                orphans.extend(select(ids, alone))
                _, rows = self.chain(slots)
                self.rows.give_back(rows)
                self.events.give_back(slots)
        return orphans

    def first_of_each(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each row is the first of this batch with its slot. No sort: the last write to a mark wins."""
        mark, order = self.events["mark"], np.arange(len(slots))
        mark[slots[::-1]] = order[::-1]
        return np.asarray(mark[slots] == order)

    def find(self, slots: NDArray[np.int64], versions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The prediction row of each event by each version, or -1."""
        found = np.full(len(slots), NO_ROW, np.int64)
        rows = self.events["first"][slots]
        while (rows != NO_ROW).any():
            same = (rows != NO_ROW) & (self.rows["version"][rows] == versions)
            found[same] = rows[same]
            rows = np.where(rows == NO_ROW, NO_ROW, self.rows["next"][rows])
        return found

    def insert(self, batch: Predictions, rows: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Hold these rows of a batch as predictions of the events in these slots."""
        table, new = self.rows, self.rows.take(len(rows))
        table["version"][new] = batch.versions[rows]
        table["segment"][new] = batch.segments[rows]
        table["predicted"][new] = batch.predicted[rows]
        table["scores"][new] = batch.scores[rows]
        self._link(new, slots)
        times = self.events["event_time"]
        unset = times[slots] == NO_TIME
        times[slots[unset]] = batch.event_times_ms[rows[unset]]

    def chain(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every prediction of these events: the position of its event in `slots`, and its own row."""
        of, rows = np.arange(len(slots)), self.events["first"][slots]
        positions: list[NDArray[np.int64]] = []
        chains: list[NDArray[np.int64]] = []
        while len(rows):
            exists = rows != NO_ROW
            of, rows = of[exists], rows[exists]
            positions.append(of)
            chains.append(rows)
            rows = self.rows["next"][rows]
        of, rows = (np.concatenate(p) if p else np.empty(0, np.int64) for p in (positions, chains))
        return of, rows

    def place(self, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> Place:
        """Where these predictions, of the events in these slots, are counted."""
        return Place(
            self.events["event_time"][slots],
            self.rows["version"][rows].astype(np.int64),
            self.rows["segment"][rows].astype(np.int64),
        )

    def fill(
        self,
        ids: list[bytes],
        events: Mapping[str, NDArray[np.generic]],
        owners: NDArray[np.int64],
        rows: Mapping[str, NDArray[np.generic]],
    ) -> None:
        """Hold these where nothing is held yet; `owners` are the predictions' positions in `ids`."""
        slots, _ = self.slots(ids)
        for name, column in events.items():
            self.events[name][slots] = column
        table, new = self.rows, self.rows.take(len(owners))
        for name, column in rows.items():
            table[name][new] = column
        self._link(new, slots[owners])
        buckets = self.events["bucket"][slots]
        self.events["bucket"][slots] = NO_TIME  # so that every event is listed again
        self.schedule(slots, ids, buckets)

    def _link(self, new: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Put new prediction rows at the heads of their events' chains."""
        first, following = self.events["first"], self.rows["next"]
        left = np.arange(len(new))
        while len(left):  # once, or once per version where several predict one event in one batch
            heads = self.first_of_each(slots[left])
            linked = left[heads]
            following[new[linked]] = first[slots[linked]]
            first[slots[linked]] = new[linked]
            left = left[~heads]
