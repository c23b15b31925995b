"""From the times of a request to the exact offsets that a training uses."""

from datetime import datetime

from millrace.kafka.admin import Admin
from millrace.kafka.ranges import offsets_at
from millrace.process.retraining import OffsetRange, RequestData
from millrace.process.settings import KafkaSettings


def feature_ranges(kafka: KafkaSettings, topic: str, start: datetime, end: datetime) -> tuple[OffsetRange, ...]:
    """The records of a topic from one event time up to another, by partition; empty partitions are left out.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    first, following = offsets_at(kafka, topic, start), offsets_at(kafka, topic, end)
    return _ranges(topic, first, following)


def label_ranges(kafka: KafkaSettings, topic: str, data: RequestData) -> tuple[OffsetRange, ...]:
    """All labels up to now, or up to where the request says; raises as `feature_ranges`."""
    ends = Admin(kafka).ends([topic])
    limits = data.label_snapshot_offsets.get(topic, {})
    first = {at.partition: int(found.start) for at, found in ends.items()}
    following = {at.partition: limits.get(str(at.partition), int(found.stable)) for at, found in ends.items()}
    return _ranges(topic, first, following)


def _ranges(topic: str, first: dict[int, int], following: dict[int, int]) -> tuple[OffsetRange, ...]:
    return tuple(
        OffsetRange(topic=topic, partition=number, first_offset=begin, next_offset=following[number])
        for number, begin in sorted(first.items())
        if begin < following[number]
    )
