import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.core.records import Coordinates, NextOffset, RecordBatch, TopicPartition


def batch(partitions: list[int], offsets: list[int]) -> RecordBatch:
    count = len(offsets)
    values = [str(offset).encode() for offset in offsets]
    return RecordBatch(
        "in",
        np.array(partitions, np.int32),
        np.array(offsets, np.int64),
        np.arange(count, dtype=np.int64),
        [b"k"] * count,
        values,
        [None] * count,
    )


@pytest.mark.parametrize("text", ["weather.features-3-1042", "a-1-2", "a-b-10-0", "t-0-5.7", "a-1-2-3"])
def test_coordinates_read_what_they_write(text: str) -> None:
    assert str(Coordinates.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a", "a-1", "a-b-c", "a-1-x", "a-1-2.", "a b-1-2", "a-1--2"])
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match="TOPIC-PARTITION-OFFSET"):
        Coordinates.parse(text)


def test_the_committable_offset_is_one_past_the_last_record_of_each_partition() -> None:
    next_offsets = batch([0, 1, 0, 1], [5, 40, 6, 41]).next_offsets()
    assert next_offsets == {TopicPartition("in", 0): NextOffset(7), TopicPartition("in", 1): NextOffset(42)}


def test_an_empty_batch_commits_nothing() -> None:
    assert RecordBatch.empty("in").next_offsets() == {}


def test_take_and_concat_keep_rows_together() -> None:
    whole = batch([0, 1, 0, 1], [5, 40, 6, 41])
    again = RecordBatch.concat([whole.take(slice(0, 1)), whole.take(np.array([1, 2])), whole.take(slice(3, 4))])
    assert list(again.values) == list(whole.values)
    assert again.offsets.tolist() == whole.offsets.tolist()
    assert again.coordinates(1) == Coordinates("in", 1, 40)
