"""What a join can be used for: to count single predictions for reports, or pairs of them for a rollout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.codec.evidence import CountedPane
from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.join import Join
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane, PaneKey
from millrace.core.audit.partition import PartitionAudit, Refused
from millrace.core.audit.windows import WindowSpec


class Counts(Protocol):
    """The join of one partition, and the panes that it fills. See `millrace.core.audit.partition.PartitionAudit`."""

    @property
    def join(self) -> Join:
        """What waits for its label."""
        ...

    @property
    def panes(self) -> dict[PaneKey, Any]:
        """What was counted so far."""
        ...

    def announce(self, version: int, layout: Layout) -> None:
        """Say what to count for a version, before its first prediction."""
        ...

    def add_predictions(self, batch: Predictions, digits: NDArray[np.uint8]) -> Refused:
        """Count predictions."""
        ...

    def add_labels(self, batch: Labels) -> Refused:
        """Count labels, corrections and retractions."""
        ...

    def expire(self, watermark_ms: int) -> list[bytes]:
        """Forget what nothing can change any more; returns the events of orphaned labels."""
        ...

    def take_changed(self) -> dict[PaneKey, Any]:
        """Panes that changed since the last call, in the order of their keys."""
        ...


@dataclass(frozen=True, slots=True)
class Counting:
    """A way to count.

    Attributes:
        role: What telemetry calls it.
        begin: Counts of a partition, given its join.
        read_pane: A pane from what its `to_json` wrote, with the layout of its version.
        reads_ahead: Whether labels are read also while no prediction waits for any.
    """

    role: str
    begin: Callable[[WindowSpec, Join], Counts]
    read_pane: Callable[[bytes, Layout], CountedPane]
    reads_ahead: bool = True


def _begin_reports(spec: WindowSpec, join: Join) -> Counts:
    return PartitionAudit(spec, {}, join)


REPORTS: Final = Counting("join", _begin_reports, Pane.from_json)
"""Single predictions, for the judge."""
