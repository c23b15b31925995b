"""Records too old to be of use: written to the late topic instead of being scored, where the deployment declares it."""

from datetime import timedelta

import numpy as np

from millrace.core.records import Headers, OutputBatch, RecordBatch


def split_late(records: RecordBatch, *, wall_ms: int, shed_after: timedelta) -> tuple[RecordBatch, RecordBatch]:
    """The records to score and the records that are older than `shed_after`. Without a timestamp none is old."""
    horizon = wall_ms - shed_after // timedelta(milliseconds=1)
    late = (records.timestamps_ms >= 0) & (records.timestamps_ms < horizon)
    if not late.any():
        return records, RecordBatch.empty(records.topic)
    return records.take(np.flatnonzero(~late)), records.take(np.flatnonzero(late))


def late_output(late: RecordBatch, *, topic: str) -> OutputBatch:
    """The records as they came, with headers that say where they lay in the log."""
    headers: list[Headers] = [
        (*(original or ()), ("millrace.late.source", str(late.coordinates(row)).encode()))
        for row, original in enumerate(late.headers)
    ]
    return OutputBatch(topic, late.partitions, late.timestamps_ms, late.keys, late.values, headers)
