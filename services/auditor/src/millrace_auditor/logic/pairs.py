"""Counting pairs: what two versions said of the same events, and which of both the labels prove right.

The join is the one of reports. A row of it holds both answers in its two score columns; the challenger is its version,
and the champion takes the place of its segment.

Unlike predictions, pairs come only while a rollout is on, and in a canary only for a share of the keys: most labels are
about events that are no pair. They must not fill the join, so labels are read no further than the pairs need, and one
that is older than the newest pair and belongs to none is dropped at once.
"""

import json
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import Joined, LabelledColumns, Labels, Predictions, select
from millrace.core.audit.join import Join
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.partition import Refused
from millrace.core.audit.windows import NO_TIME, WindowSpec, milliseconds
from millrace.core.rollout import PairCounts
from millrace.core.signature import Task
from millrace_auditor.logic.counting import Counting, Counts

ANSWERS: Final = 2
"""Score columns of a row: what the champion said, and what the challenger said."""

_TIE, _CHAMPION, _CHALLENGER = range(3)

_NOTHING_REFUSED: Final = Refused(np.empty(0, np.int64))
"""What is late or has no prediction is said by the join of reports; here most labels of a canary have none."""


class PairAudit:
    """Counts one partition's pairs into panes by the time of the event. See `millrace_auditor.logic.counting.Counts`.

    Args:
        task: What the versions predict.
        spec: Windows and horizons.
        join: The join to continue; it keeps `ANSWERS` scores.
    """

    def __init__(self, task: Task, spec: WindowSpec, join: Join) -> None:
        self._task = task
        self._spec = spec
        self.join: Final = join
        self.panes: Final[dict[PaneKey, PairCounts]] = {}
        self._changed: set[PaneKey] = set()
        slots = np.fromiter(join.held.index.values(), np.int64, len(join))
        self._newest_ms = int(join.held.events["event_time"][slots].max(initial=NO_TIME))

    def announce(self, version: int, layout: Layout) -> None:
        """Pairs of all versions are counted alike."""

    def add_predictions(self, batch: Predictions, digits: NDArray[np.uint8]) -> Refused:
        """Count pairs whose label waits for them.

        Raises:
            FatalError: The join is full.
        """
        self._newest_ms = max(self._newest_ms, int(batch.event_times_ms.max(initial=NO_TIME)))
        return self._count(self.join.add_predictions(batch))

    def add_labels(self, batch: Labels) -> Refused:
        """Count labels, corrections and retractions.

        Raises:
            FatalError: The join is full.
        """
        return self._count(self.join.add_labels(self._of_pairs(batch)))

    def expire(self, watermark_ms: int) -> list[bytes]:
        """Forget events and panes that nothing can change any more."""
        horizon = watermark_ms - self._spec.retention_ms - self._spec.pane_ms
        for key in [key for key in self.panes if key.start_ms < horizon and key not in self._changed]:
            del self.panes[key]
        self.join.expire(watermark_ms)
        return []

    def take_changed(self) -> dict[PaneKey, PairCounts]:
        """Panes that changed since the last call, in the order of their keys."""
        changed = {key: self.panes[key] for key in sorted(self._changed)}
        self._changed.clear()
        return changed

    def _of_pairs(self, batch: Labels) -> Labels:
        """The labels of events that are held, and those that the pairs may still come to."""
        times = batch.label_times_ms
        if self._newest_ms == NO_TIME and len(times):
            self._newest_ms = int(times.min())  # no pair yet: labels wait for the first ones, for the same while
        late, early = milliseconds(self._spec.out_of_orderness), milliseconds(self._spec.orphan_ttl)
        held = np.fromiter(map(self.join.held.index.__contains__, batch.event_ids), np.bool_, len(times))
        kept = held | ((times >= self._newest_ms - late) & (times <= self._newest_ms + early))
        return Labels(
            select(batch.event_ids, kept),
            batch.labels[kept],
            times[kept],
            batch.revisions[kept],
            batch.retracted[kept],
            None if batch.weights is None else batch.weights[kept],
        )

    def _count(self, joined: Joined) -> Refused:
        place, labelled = joined.labelled_at, joined.labelled
        known = np.flatnonzero(_is_known(labelled, self._task))
        starts = self._spec.pane_starts(place.event_times_ms)
        columns = np.stack((place.versions, place.segments, starts))[:, known]
        unique, groups = np.unique(columns, axis=1, return_inverse=True)
        totals = np.zeros((unique.shape[1], 3), np.int64)
        np.add.at(totals, (groups, _better(labelled, self._task)[known]), labelled.signs[known])
        for (version, segment, start), total in zip(unique.T.tolist(), totals.tolist(), strict=True):
            key = PaneKey(version, segment, start)
            counts = PairCounts(ties=total[_TIE], champion=total[_CHAMPION], challenger=total[_CHALLENGER])
            self.panes[key] = self.panes.get(key, PairCounts()) + counts
            self._changed.add(key)
        return _NOTHING_REFUSED


def counting_pairs(task: Task) -> Counting:
    """The way to count pairs of versions that predict this."""

    def begin(spec: WindowSpec, join: Join) -> Counts:
        return PairAudit(task, spec, join)

    return Counting("pairs", begin, lambda value, _: PairCounts(**json.loads(value)), reads_ahead=False)


def _is_known(labelled: LabelledColumns, task: Task) -> NDArray[np.bool_]:
    """Whether the label is any that a version could have given."""
    return np.isfinite(labelled.labels) if task is Task.REGRESSION else labelled.labels >= 0


def _better(labelled: LabelledColumns, task: Task) -> NDArray[np.intp]:
    """Which of both was right alone, or nearer to the truth."""
    truth = labelled.labels[:, None]
    losses = np.abs(labelled.scores - truth) if task is Task.REGRESSION else labelled.scores != truth
    champion, challenger = losses[:, 0], losses[:, 1]
    return np.where(challenger < champion, _CHALLENGER, np.where(champion < challenger, _CHAMPION, _TIE))
