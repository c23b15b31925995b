"""What the auditor keeps for one partition: the join, the panes it fills, and how far the predictions have come."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.columns import Joined, LabelledColumns, Labels, Place, Predictions
from millrace.core.audit.join import CREDITS, Join
from millrace.core.audit.layout import COUNTERS, Layout
from millrace.core.audit.pane import Pane, PaneKey, count_labels, count_predictions
from millrace.core.audit.windows import WindowSpec
from millrace.core.errors import FatalError

_CREDIT_COUNTERS: Final = np.array([COUNTERS.index(name) for name in CREDITS])


@dataclass(frozen=True, slots=True)
class Refused:
    """Records that did not count, for the late topic.

    Attributes:
        late: Rows of the batch that came too late.
        late_waiting: Events whose label waited for its prediction and then proved to be late.
    """

    late: NDArray[np.int64]
    late_waiting: tuple[bytes, ...] = ()


class PartitionAudit:
    """Counts one partition's predictions and labels into panes by the time of the event, never of arrival.

    Args:
        spec: Windows and horizons.
        layouts: What to count for each version that may come; `announce` adds further ones.
        join: The join to continue, None to begin with an empty one.
    """

    def __init__(self, spec: WindowSpec, layouts: Mapping[int, Layout], join: Join | None = None) -> None:
        self._spec = spec
        self._layouts = dict(layouts)
        if join is None:
            join = Join(spec, score_columns=max(layout.score_columns for layout in layouts.values()))
        self.join: Final = join
        self.panes: Final[dict[PaneKey, Pane]] = {}
        self.changed: Final[set[PaneKey]] = set()

    def announce(self, version: int, layout: Layout) -> None:
        """Say what to count for a version, before its first prediction.

        Raises:
            FatalError: Its predictions have more scores than the join keeps.
        """
        kept = self.join.held.score_columns
        if layout.score_columns > kept:
            raise FatalError(
                f"version {version} has {layout.score_columns} scores and the join keeps {kept}",
                remedy="deploy a model with other classes as a new deployment",
            )
        self._layouts[version] = layout

    def add_predictions(self, batch: Predictions, digits: NDArray[np.uint8]) -> Refused:
        """Count predictions, given with their cells as `read_digits` reads them.

        Raises:
            FatalError: The join is full, or a version has no layout; nothing was counted.
        """
        self._must_know(batch.versions)
        joined = self.join.add_predictions(batch)
        fresh = joined.fresh
        place = Place(batch.event_times_ms[fresh], batch.versions[fresh], batch.segments[fresh])
        for keys, rows, groups in self._by_version(place):
            layout = self._layouts[keys[0].version]
            scores = batch.scores[fresh[rows], : layout.score_columns]
            self._add(keys, count_predictions(layout, scores, digits[fresh[rows]], groups, len(keys)))
        return self._count_joined(joined)

    def add_labels(self, batch: Labels) -> Refused:
        """Count labels, corrections and retractions.

        Raises:
            FatalError: The join is full.
        """
        return self._count_joined(self.join.add_labels(batch))

    def expire(self, watermark_ms: int) -> list[bytes]:
        """Forget events and panes that nothing can change any more; returns the events of orphaned labels."""
        horizon = watermark_ms - self._spec.retention_ms - self._spec.pane_ms - self._spec.size_ms
        for key in [key for key in self.panes if key.start_ms < horizon and key not in self.changed]:
            del self.panes[key]
        return self.join.expire(watermark_ms)

    def take_changed(self) -> dict[PaneKey, Pane]:
        """Panes that changed since the last call, in the order of their keys: the evidence to publish."""
        changed = {key: self.panes[key] for key in sorted(self.changed)}
        self.changed.clear()
        return changed

    def _must_know(self, versions: NDArray[np.int64]) -> None:
        unknown = set(np.unique(versions).tolist()) - self._layouts.keys()
        if unknown:
            raise FatalError(
                f"predictions of version {min(unknown)} came before its entry in the registry",
                remedy="push the version with `millrace model push`, or let the auditor read millrace.models",
            )

    def _count_joined(self, joined: Joined) -> Refused:
        for keys, rows, groups in self._by_version(joined.labelled_at):
            layout = self._layouts[keys[0].version]
            columns = joined.labelled.take(rows)
            self._add(keys, count_labels(layout, _narrow(columns, layout.score_columns), groups, len(keys)))
        credited = joined.credits.any(axis=1)
        place = Place(*(column[credited] for column in _columns(joined.credits_at)))
        for keys, rows, groups in self._by_version(place):
            layout = self._layouts[keys[0].version]
            panes = [Pane.empty(layout) for _ in keys]
            totals = np.zeros((len(keys), len(CREDITS)), np.int64)
            np.add.at(totals, groups, joined.credits[credited][rows])
            for pane, total in zip(panes, totals, strict=True):
                pane.counts[_CREDIT_COUNTERS] = total
            self._add(keys, panes)
        return Refused(joined.late, tuple(joined.late_waiting))

    def _by_version(self, place: Place) -> list[tuple[list[PaneKey], NDArray[np.intp], NDArray[np.intp]]]:
        """For each version its panes, its rows, and the pane of each row."""
        starts = self._spec.pane_starts(place.event_times_ms)
        parts = []
        for version in np.unique(place.versions).tolist():
            rows = np.flatnonzero(place.versions == version)
            starts_of, segments_of = starts[rows], place.segments[rows]
            # Few panes and segments live in a batch: number each, then the pairs of them.
            start_values, start_codes = np.unique(starts_of, return_inverse=True)
            segment_values, segment_codes = np.unique(segments_of, return_inverse=True)
            pairs, groups = np.unique(segment_codes * len(start_values) + start_codes, return_inverse=True)
            keys = [
                PaneKey(version, int(segment_values[p // len(start_values)]), int(start_values[p % len(start_values)]))
                for p in pairs.tolist()
            ]
            parts.append((keys, rows, groups))
        return parts

    def _add(self, keys: list[PaneKey], panes: list[Pane]) -> None:
        for key, pane in zip(keys, panes, strict=True):
            before = self.panes.get(key)
            self.panes[key] = pane if before is None else before + pane
        self.changed.update(keys)


def _columns(place: Place) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return place.event_times_ms, place.versions, place.segments


def _narrow(columns: LabelledColumns, score_columns: int) -> LabelledColumns:
    return replace(columns, scores=columns.scores[:, :score_columns])
