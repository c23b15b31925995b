from datetime import timedelta

import numpy as np

from millrace.core.records import RecordBatch
from millrace_scorer.logic.shedding import late_output, split_late

RECORDS = RecordBatch(
    "in",
    np.array([0, 1, 0], np.int32),
    np.array([5, 6, 7], np.int64),
    np.array([100, -1, 900], np.int64),
    [b"a", None, b"c"],
    [b"1", b"2", None],
    [[("id", b"x")], None, None],
)


def test_only_records_beyond_the_age_are_late_and_unstamped_ones_never() -> None:
    on_time, late = split_late(RECORDS, wall_ms=1000, shed_after=timedelta(milliseconds=500))
    assert on_time.offsets.tolist() == [6, 7]
    assert late.offsets.tolist() == [5]


def test_nothing_late_leaves_the_batch_as_it_is() -> None:
    on_time, late = split_late(RECORDS, wall_ms=1000, shed_after=timedelta(seconds=5))
    assert on_time is RECORDS
    assert len(late) == 0


def test_a_late_record_keeps_its_bytes_and_says_where_it_lay() -> None:
    output = late_output(RECORDS.take(np.array([0])), topic="d.late")
    assert (output.topic, list(output.keys), list(output.values)) == ("d.late", [b"a"], [b"1"])
    assert output.headers == [(("id", b"x"), ("millrace.late.source", b"in-0-5"))]
    assert output.partitions.tolist() == [0]
