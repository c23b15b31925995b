"""Exact ranges of the log: which offsets a time means, and the records between two offsets."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch
from millrace.kafka.connection import QUIET, READER_GROUP, ConnectionNotes, partitions_of
from millrace.kafka.reading import Reader, Until
from millrace.process.settings import KafkaSettings

_ANSWER_SECS: Final = 10.0
_BATCH_RECORDS: Final = 5_000


def offsets_at(kafka: KafkaSettings, topic: str, when: datetime) -> dict[int, int]:
    """By partition, the offset of the first record whose timestamp is `when` or later; the end where there is none.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    doing, notes = f"looking up a time in {topic!r}", ConnectionNotes()
    settings = {"group.id": READER_GROUP, "enable.auto.commit": False, "isolation.level": "read_committed", **QUIET}
    consumer = Consumer({**kafka.client(**settings), "error_cb": notes.heard})
    try:
        numbers = partitions_of(consumer, topic, notes, doing=doing)
        since_ms = max(round(when.timestamp() * 1000), 0)
        asked = [TopicPartition(topic, number, since_ms) for number in numbers]
        found = consumer.offsets_for_times(asked, timeout=_ANSWER_SECS)
        # A negative offset says that no record is that young.
        return {
            at.partition: at.offset
            if at.offset >= 0
            else consumer.get_watermark_offsets(TopicPartition(topic, at.partition), _ANSWER_SECS)[1]
            for at in found
        }
    except KafkaException as error:
        raise notes.explain(error, doing) from error
    finally:
        consumer.close()


def read_range(
    kafka: KafkaSettings, topic: str, partition: int, first_offset: int, next_offset: int
) -> Iterator[RecordBatch]:
    """The committed records of a partition from one offset up to, and without, another; in order, in bounded batches.

    Raises:
        RequestError: Records of the range are deleted or not yet written, or there is no such topic or partition.
        TransientError: The broker cannot be reached.
        FatalError: The broker refuses this client.
    """
    if next_offset <= first_offset:
        return
    with Reader(kafka, topic, start={partition: first_offset}, until=Until.NOW) as reader:
        low, high = reader.bounds(partition)
        if low > first_offset or high < next_offset:
            raise RequestError(
                f"{topic}-{partition} holds offsets {low} to {high} now, not {first_offset} to {next_offset}",
                remedy="a longer retention.ms keeps records longer",
            )
        gathered: list[RecordBatch] = []
        for batch in reader:
            inside = batch.offsets < next_offset
            gathered.append(batch if inside.all() else batch.take(np.flatnonzero(inside)))
            is_last = int(batch.offsets[-1]) + 1 >= next_offset
            if is_last or sum(map(len, gathered)) >= _BATCH_RECORDS:
                yield RecordBatch.concat(gathered)
                gathered = []
            if is_last:
                return
        if gathered:  # the range ends in records that nobody may see
            yield RecordBatch.concat(gathered)
