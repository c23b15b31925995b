"""Predictions and labels of one pane to its evidence, by the arithmetic of the auditor's join."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import ScalarFunction

from millrace.codec.audit_records import RecordColumns
from millrace.codec.evidence import Progress, Span, pane_key, pane_value, progress_key, progress_value, spans_of
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.partition import PartitionAudit
from millrace.core.audit.segments import Segments
from millrace.core.audit.windows import WindowSpec
from millrace.core.records import RecordBatch
from millrace.core.signature import Task

PREDICTION: Final = 0
LABEL: Final = 1

EVENTS: Final = DataTypes.ROW(
    [
        DataTypes.FIELD("event", DataTypes.STRING()),
        DataTypes.FIELD("pane", DataTypes.BIGINT()),
        DataTypes.FIELD("happened", DataTypes.BIGINT()),
    ]
)
"""The event of a record, null where the audit is not about it; of a prediction the start of its pane and its time."""


@dataclass(frozen=True, slots=True)
class Audited:
    """What is audited, as it travels to the tasks. See `millrace.codec.audit_records.Audited`.

    Attributes:
        model: Name of the model.
        task: What its outputs mean.
        classes: Names of its classes.
        layouts: What to count, by version.
        divisions: How the events are divided, by version.
        spec: Windows and horizons.
    """

    model: str
    task: Task
    classes: tuple[str, ...]
    layouts: Mapping[int, Layout]
    divisions: Mapping[int, Segments | None]
    spec: WindowSpec

    def layout(self, version: int) -> Layout:
        """What to count for a version."""
        return self.layouts[version]

    def segments(self, version: int) -> Segments | None:
        """How the events of a version are divided; None where they are not."""
        return self.divisions[version]


class FindEvents(ScalarFunction):  # type: ignore[misc]  # PyFlink is untyped
    """Which event each prediction or label is about; a bundle at a time."""

    def __init__(self, audited: Audited, kind: int) -> None:
        self._audited, self._kind = audited, kind

    def eval(self, values: "pd.Series[Any]") -> pd.DataFrame:
        """Read a bundle; see `EVENTS` for what is returned, a row per record."""
        events: list[str | None] = [None] * len(values)
        panes, happened = np.zeros((2, len(values)), np.int64)
        records = _records(np.zeros(1, np.int32), np.arange(len(values)), values.tolist())
        columns = RecordColumns(self._audited)
        if self._kind == LABEL:
            read = columns.labels(records)
            for row, event in zip(read.offsets.tolist(), read.columns.event_ids, strict=True):
                events[row] = event.decode()
        else:
            for block in columns.predictions(records).blocks.values():
                happened[block.offsets] = block.columns.event_times_ms
                panes[block.offsets] = self._audited.spec.pane_starts(block.columns.event_times_ms)
                for row, event in zip(block.offsets.tolist(), block.columns.event_ids, strict=True):
                    events[row] = event.decode()
        return pd.DataFrame({"event": events, "pane": panes, "happened": happened})


def counting(audited: Audited) -> Callable[..., str]:
    """The function that counts a group of records of one pane and partition; see `count_pane`."""

    def count(
        partitions: "pd.Series[Any]", kinds: "pd.Series[Any]", offsets: "pd.Series[Any]", values: "pd.Series[Any]"
    ) -> str:
        group = pd.DataFrame({"kind": kinds, "offset": offsets, "value": values}).sort_values(["kind", "offset"])
        return count_pane(audited, int(partitions.iloc[0]), group)

    return count


def progress(partitions: "pd.Series[Any]", newest: "pd.Series[Any]", next_label: "pd.Series[Any]") -> "pd.Series[Any]":
    """How far each partition has come, as the join tells the judge: lines of key, tab, value."""
    rows = zip(partitions.tolist(), newest.tolist(), next_label.tolist(), strict=True)
    return pd.Series(
        [
            (progress_key(number) + b"\t" + progress_value(Progress(number, newest_ms, after))).decode()
            for number, newest_ms, after in rows
        ],
        dtype="object",
    )


def count_pane(audited: Audited, partition: int, group: pd.DataFrame) -> str:
    """The evidence of records of one pane, as the auditor's join would leave it in the end.

    Args:
        audited: What is audited.
        partition: The partition of all records.
        group: Columns `kind`, `offset` and `value`, ascending by kind and offset.

    Returns:
        Lines of key, tab, value, one per version and segment.
    """
    columns, audit = RecordColumns(audited), PartitionAudit(audited.spec, audited.layouts)
    spans: dict[PaneKey, Span] = {}
    for kind, part in group.groupby("kind"):
        records = _records(np.full(1, partition, np.int32), part["offset"].to_numpy(np.int64), part["value"].tolist())
        if kind == LABEL:
            audit.add_labels(columns.labels(records).columns)
            continue
        for block in columns.predictions(records).blocks.values():
            refused = audit.add_predictions(block.columns, block.digits)
            for key, span in spans_of(block, refused.late, audited.spec).items():
                spans[key] = spans[key] | span if key in spans else span
    lines = [
        pane_key(key, partition) + b"\t" + pane_value(audited.model, key, partition, spans.get(key, Span(0, 0)), pane)
        for key, pane in audit.take_changed().items()
    ]
    return b"\n".join(lines).decode()


def _records(partition: Any, offsets: Any, values: Sequence[Any]) -> RecordBatch:  # noqa: ANN401 - numpy
    count = len(values)
    times = np.zeros(count, np.int64)
    return RecordBatch("", np.repeat(partition, count), offsets, times, [None] * count, values, [None] * count)
