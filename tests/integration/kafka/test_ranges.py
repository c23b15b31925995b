"""Exact ranges of the log on the real broker."""

from datetime import UTC, datetime

import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.ranges import offsets_at, read_range
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory

STARTED_MS = 1_600_000_000_000


@pytest.fixture
def stream(broker: Broker, topic: TopicFactory) -> str:
    """A topic of two partitions; the first has 12,000 records, a second apart."""
    name, count = topic(partitions=2), 12_000
    times = STARTED_MS + np.arange(count, dtype=np.int64) * 1000
    values = [b"%d" % row for row in range(count)]
    with Writer(broker.kafka) as writer:
        writer.write(OutputBatch(name, np.zeros(count, np.int32), times, [None] * count, values))
    return name


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(STARTED_MS / 1000 + seconds, UTC)


@pytest.mark.parametrize(("seconds", "offset"), [(-5, 0), (0, 0), (0.5, 1), (11_999, 11_999), (12_000, 12_000)])
def test_a_time_means_the_first_record_that_is_not_older(
    broker: Broker, stream: str, seconds: float, offset: int
) -> None:
    assert offsets_at(broker.kafka, stream, when(seconds)) == {0: offset, 1: 0}


@pytest.mark.parametrize(("first", "following"), [(0, 12_000), (3, 4), (100, 11_000), (5, 5)])
def test_a_range_is_read_whole_and_nothing_beyond(broker: Broker, stream: str, first: int, following: int) -> None:
    batches = list(read_range(broker.kafka, stream, 0, first, following))
    assert [int(offset) for batch in batches for offset in batch.offsets] == list(range(first, following))
    assert all(len(batch) < 7_000 for batch in batches)


@pytest.mark.parametrize(("partition", "following"), [(0, 12_001), (1, 1)])
def test_what_is_not_there_is_refused(broker: Broker, stream: str, partition: int, following: int) -> None:
    with pytest.raises(RequestError, match="holds offsets 0 to"):
        list(read_range(broker.kafka, stream, partition, 0, following))
