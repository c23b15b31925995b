"""Event-time windows made of panes, watermarks, and the stages a window passes through.

A window is a sum of panes, so that sliding windows cost no more state than tumbling ones. All times are milliseconds
since 1970; durations of a specification are timedeltas.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError

NO_TIME: Final = -(2**62)
"""Before every event time: the watermark of an input that has shown no record."""


class Stage(StrEnum):
    """How complete a window is. Decisions about input need CLOSED, decisions about performance need MATURE."""

    PROVISIONAL = "provisional"
    """Predictions of the window may still arrive."""
    CLOSED = "closed"
    """The prediction watermark has passed the end: drift, quality and the estimate are final."""
    MATURE = "mature"
    """The watermark has passed the end plus the label horizon: performance is final."""
    AMENDED = "amended"
    """Mature, and changed since by a correction or a retraction."""
    EVICTED = "evicted"
    """Beyond the correction horizon: no longer held, never changes again."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Which windows there are and how long each waits.

    Attributes:
        label_horizon: How long after its event a label may come. There is no default: only the user knows.
        size: Length of a window.
        hop: Distance between the starts of windows; None for tumbling windows.
        pane: Length of a pane, which divides size and hop; None to take the hop.
        correction_horizon: How long after the label horizon corrections are applied.
        out_of_orderness: How far behind the newest record of its partition a record may come and still be in time.
        idle_after: Wall-clock time without a record after which a partition no longer holds the watermark back.
        orphan_ttl: How long a label waits for its prediction, by label time.
    """

    label_horizon: timedelta
    size: timedelta = timedelta(hours=1)
    hop: timedelta | None = None
    pane: timedelta | None = None
    correction_horizon: timedelta = timedelta(0)
    out_of_orderness: timedelta = timedelta(seconds=5)
    idle_after: timedelta = timedelta(seconds=30)
    orphan_ttl: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.pane_ms < 1 or self.size_ms % self.pane_ms or self.hop_ms % self.pane_ms:
            raise RequestError(
                f"panes of {self.pane or self.hop or self.size} do not divide windows of {self.size}",
                remedy="choose a pane that divides both the size and the hop of the windows",
            )
        if min(self.label_horizon, self.correction_horizon, self.out_of_orderness, self.orphan_ttl) < timedelta(0):
            raise RequestError("a horizon of the windows is negative", remedy="give zero or more")

    @property
    def size_ms(self) -> int:
        """Length of a window."""
        return milliseconds(self.size)

    @property
    def hop_ms(self) -> int:
        """Distance between the starts of two windows."""
        return milliseconds(self.hop or self.size)

    @property
    def pane_ms(self) -> int:
        """Length of a pane."""
        return milliseconds(self.pane or self.hop or self.size)

    @property
    def retention_ms(self) -> int:
        """How long after its event time an event can still change a report."""
        return milliseconds(self.label_horizon + self.correction_horizon)

    def pane_starts(self, event_times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The start of the pane of each event; panes cover all time and do not overlap."""
        return event_times_ms - event_times_ms % self.pane_ms

    def windows_of(self, pane_start_ms: int) -> list["Window"]:
        """Every window that the pane is part of, earliest first."""
        last = pane_start_ms - pane_start_ms % self.hop_ms
        count = -(-self.size_ms // self.hop_ms)
        starts = (last - i * self.hop_ms for i in reversed(range(count)))
        return [Window(start, start + self.size_ms) for start in starts if start + self.size_ms > pane_start_ms]

    def panes_of(self, window: "Window") -> range:
        """The starts of the panes that the window is the sum of."""
        return range(window.start_ms, window.end_ms, self.pane_ms)

    def stage(self, window: "Window", watermark_ms: int) -> Stage:
        """The stage of a window by the prediction watermark; the caller knows whether a mature window was amended."""
        matures = window.end_ms + milliseconds(self.label_horizon)
        if watermark_ms < window.end_ms:
            return Stage.PROVISIONAL
        if watermark_ms < matures:
            return Stage.CLOSED
        # A window is seen mature at least once, also without a correction horizon.
        if watermark_ms <= max(window.end_ms + self.retention_ms, matures + self.pane_ms):
            return Stage.MATURE
        return Stage.EVICTED


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Event times from start (included) to end (not included)."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class _Progress:
    newest_ms: int
    seen_at_ms: int


@dataclass(frozen=True, slots=True)
class Watermarks:
    """How far event time has come on one input, over all of its partitions. A value: every method returns a new one.

    The watermark is the least, over partitions that are not idle, of the newest event time minus the out-of-orderness.
    It never goes back. When every partition is idle, event time goes on with the wall clock from where the last record
    left it: a stopped producer must not keep windows open for ever.
    """

    out_of_orderness_ms: int
    idle_after_ms: int
    current_ms: int = NO_TIME
    _partitions: Mapping[int, _Progress] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: WindowSpec, partitions: Mapping[int, int]) -> Self:
        """Start on these partitions, each given with the wall-clock time of its assignment.

        A partition without any record holds the watermark back until it is idle.
        """
        return cls(
            milliseconds(spec.out_of_orderness),
            milliseconds(spec.idle_after),
            _partitions={partition: _Progress(NO_TIME, at_ms) for partition, at_ms in partitions.items()},
        )

    def observe(self, newest_ms: Mapping[int, int], now_ms: int) -> Self:
        """Take note of the newest event time that each of these partitions just showed, and advance."""
        moved = {
            partition: _Progress(max(newest, self._newest(partition)), now_ms)
            for partition, newest in newest_ms.items()
        }
        return replace(self, _partitions={**self._partitions, **moved}).advance(now_ms)

    def reassign(self, partitions: Collection[int], now_ms: int) -> Self:
        """After a rebalance: keep what is known of these partitions, begin the new ones, forget the others."""
        begun = {partition: _Progress(NO_TIME, now_ms) for partition in partitions}
        kept = {partition: progress for partition, progress in self._partitions.items() if partition in begun}
        return replace(self, _partitions={**begun, **kept})

    def advance(self, now_ms: int) -> Self:
        """Let wall-clock time pass: partitions fall idle, and when all are, event time follows the clock."""
        active = [p.newest_ms for p in self._partitions.values() if now_ms - p.seen_at_ms < self.idle_after_ms]
        if active:
            reached = min(active)
        else:
            known = [p for p in self._partitions.values() if p.newest_ms != NO_TIME]
            reached = max((p.newest_ms + now_ms - p.seen_at_ms for p in known), default=NO_TIME)
        return replace(self, current_ms=max(self.current_ms, reached - self.out_of_orderness_ms, NO_TIME))

    def _newest(self, partition: int) -> int:
        progress = self._partitions.get(partition)
        return NO_TIME if progress is None else progress.newest_ms


def milliseconds(duration: timedelta) -> int:
    """A duration in whole milliseconds."""
    return duration // timedelta(milliseconds=1)
