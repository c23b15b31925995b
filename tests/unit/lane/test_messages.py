"""Columns into the client's queue, against the client's own mock broker."""

from collections.abc import Iterator

import numpy as np
import pytest
from confluent_kafka import KafkaException, Producer

from millrace.core.records import Headers, OutputBatch
from millrace.kafka.messages import enqueue, to_batch

QUEUE = 100


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer(
        {
            "bootstrap.servers": "mock",
            "test.mock.num.brokers": 1,
            "queue.buffering.max.messages": QUEUE,
            "linger.ms": 5_000,
            "log_level": 0,
        }
    )
    yield made
    made.purge()
    made.flush(5)


def outputs(count: int, headers: list[Headers | None] | None = None) -> OutputBatch:
    values: list[bytes | None] = [b"%d" % n for n in range(count)]
    return OutputBatch("out", np.zeros(count, np.int32), np.arange(count, dtype=np.int64), values, values, headers)


def test_everything_is_queued_where_there_is_room(producer: Producer) -> None:
    assert enqueue(producer, outputs(QUEUE)) == QUEUE
    assert len(producer) == QUEUE


def test_a_full_queue_says_where_to_go_on(producer: Producer) -> None:
    batch = outputs(250)
    rows = [enqueue(producer, batch)]
    while rows[-1] < len(batch):
        producer.flush(10)
        rows.append(enqueue(producer, batch, rows[-1]))
    assert rows == [100, 200, 250]


def test_records_with_and_without_headers_may_be_mixed(producer: Producer) -> None:
    assert enqueue(producer, outputs(3, [None, [("reason", b"because"), ("none", None)], []])) == 3


def test_a_record_that_cannot_be_produced_is_an_error(producer: Producer) -> None:
    large = OutputBatch("out", np.zeros(1, np.int32), np.zeros(1, np.int64), [None], [b"x" * 2_000_000])
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        enqueue(producer, large)


def test_no_messages_are_an_empty_batch() -> None:
    assert len(to_batch("in", [])) == 0
