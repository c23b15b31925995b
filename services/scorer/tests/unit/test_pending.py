from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.core.lane import Discard
from millrace.core.records import RecordBatch, TopicPartition
from millrace_scorer.logic.pending import Pending


def batch(partition: int, first: int, count: int, *, at_ms: int = 1000) -> RecordBatch:
    return RecordBatch(
        "in",
        np.full(count, partition, np.int32),
        np.arange(first, first + count, dtype=np.int64),
        np.full(count, at_ms, np.int64),
        [None] * count,
        [b"v"] * count,
        [None] * count,
    )


def places(records: RecordBatch) -> list[tuple[int, int]]:
    return list(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))


def test_records_are_taken_in_the_order_of_polling() -> None:
    pending = Pending()
    pending.add(batch(0, 10, 3), wall_ms=0, monotonic=0)
    pending.add(batch(1, 50, 2), wall_ms=0, monotonic=1)
    assert places(pending.take(4)) == [(0, 10), (0, 11), (0, 12), (1, 50)]
    assert places(pending.take(1)) == [(1, 51)]
    assert len(pending) == 0


def test_the_backlog_tells_the_oldest_record_and_the_longest_wait() -> None:
    pending = Pending()
    pending.add(batch(0, 0, 2, at_ms=900), wall_ms=1000, monotonic=5.0)
    pending.add(batch(1, 0, 1, at_ms=400), wall_ms=1000, monotonic=5.5)
    backlog = pending.backlog(wall_ms=1100, monotonic=6.0)
    assert backlog.records == 3
    assert backlog.oldest == timedelta(milliseconds=700)
    assert backlog.waited == timedelta(seconds=1)


def test_records_without_a_timestamp_are_as_old_as_their_poll() -> None:
    pending = Pending()
    pending.add(batch(0, 0, 2, at_ms=-1), wall_ms=1000, monotonic=0)
    assert pending.backlog(wall_ms=1010, monotonic=0).oldest == timedelta(milliseconds=10)


def test_revoked_partitions_are_forgotten_and_the_others_kept() -> None:
    pending = Pending()
    pending.add(RecordBatch.concat([batch(0, 0, 2), batch(1, 0, 2)]), wall_ms=0, monotonic=0)
    pending.add(batch(1, 2, 2), wall_ms=0, monotonic=0)
    pending.discard(Discard(partitions=frozenset({TopicPartition("in", 1), TopicPartition("other", 0)})))
    assert len(pending) == 2
    assert places(pending.take(2)) == [(0, 0), (0, 1)]


def test_a_rewind_forgets_everything() -> None:
    pending = Pending()
    pending.add(batch(0, 0, 2), wall_ms=0, monotonic=0)
    pending.discard(Discard(everything=True))
    assert len(pending) == 0
    assert pending.backlog(wall_ms=5, monotonic=5).records == 0


@given(st.lists(st.integers(0, 7), max_size=8), st.lists(st.integers(1, 9), max_size=12))
def test_every_record_is_taken_once_and_in_order(added: list[int], taken: list[int]) -> None:
    pending = Pending()
    offset = 0
    for count in added:
        pending.add(batch(0, offset, count), wall_ms=0, monotonic=0)
        offset += count
    seen: list[int] = []
    for count in taken:
        if len(pending):
            seen += pending.take(min(count, len(pending))).offsets.tolist()
    assert seen == list(range(len(seen)))
    assert len(seen) + len(pending) == offset
