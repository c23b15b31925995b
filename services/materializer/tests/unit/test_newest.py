"""Which records of a batch a table is to hold."""

import numpy as np
from materializer_world import TOPIC

from millrace.core.records import RecordBatch
from millrace.testing.records import record_batch
from millrace_materializer.logic.newest import next_step


def test_of_each_key_the_last_record_counts() -> None:
    records = record_batch([b"1", b"2", b"3", None], keys=[b"a", b"b", b"a", b"b"], first_offset=5, topic=TOPIC)
    step = next_step(records, 0, expected=5, reached=10)
    assert (step.upsert.partition, step.upsert.expected, step.upsert.next_offset) == (0, 5, 10)
    assert list(zip(step.upsert.records.keys, step.upsert.records.values, strict=True)) == [(b"a", b"3"), (b"b", None)]
    assert step.upsert.records.offsets.tolist() == [7, 8]
    assert (step.consumed, step.deleted, step.unkeyed) == (4, 1, 0)


def test_records_that_the_table_has_are_left_out() -> None:
    records = record_batch([b"1", b"2"], keys=[b"a", b"b"], first_offset=5)
    step = next_step(records, 0, expected=6, reached=7)
    assert (list(step.upsert.records.keys), step.consumed) == ([b"b"], 1)


def test_records_of_other_partitions_and_without_a_key_are_left_out() -> None:
    mine = record_batch([b"1", b"2"], keys=[None, b"a"])
    other = record_batch([b"3"], keys=[b"a"], partition=1)
    step = next_step(RecordBatch.concat([mine, other]), 0, expected=0, reached=2)
    assert list(step.upsert.records.values) == [b"2"]
    assert (step.consumed, step.unkeyed) == (2, 1)


def test_no_records_move_the_place_alone() -> None:
    step = next_step(RecordBatch.empty(TOPIC), 3, expected=4, reached=6)
    assert (len(step.upsert.records), step.consumed, step.upsert.next_offset) == (0, 0, 6)
    assert step.upsert.records.offsets.dtype == np.int64
