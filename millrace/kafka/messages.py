"""The client's messages as columns, and columns as the client's messages. No Python bytecode runs per record here."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter, length_hint
from typing import Any, Final, TypeAlias

import numpy as np
from confluent_kafka import Message, Producer

from millrace.core.records import OutputBatch, RecordBatch

OnDelivery: TypeAlias = Callable[[Any, Any], Any] | None
"""What the client calls with (error, message) for every record. Pass only callables written in C."""

_SECOND: Final = itemgetter(1)


def to_batch(topic: str, messages: Sequence[Message]) -> RecordBatch:
    """Messages of one topic, none of them an error, as columns."""
    count = len(messages)
    return RecordBatch(
        topic,
        np.fromiter(map(Message.partition, messages), np.int32, count),
        np.fromiter(map(Message.offset, messages), np.int64, count),
        np.fromiter(map(_SECOND, map(Message.timestamp, messages)), np.int64, count),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        list(map(Message.headers, messages)),  # type: ignore[arg-type]  # asked for as list of pairs, which it is
    )


def enqueue(producer: Producer, outputs: OutputBatch, start: int = 0, on_delivery: OnDelivery = None) -> int:
    """Put the records from row `start` on into the producer's queue, in order, as far as it has room.

    `produce_batch` would refuse timestamps, and measures slower than this.

    Returns:
        The row to start from next time; the number of records when all are queued.

    Raises:
        KafkaException: The record in the row after the last one queued cannot be produced.
    """
    values = iter(outputs.values[start:])
    try:
        deque(
            map(
                producer.produce,
                repeat(outputs.topic),
                values,
                outputs.keys[start:],
                outputs.partitions[start:].tolist(),
                repeat(on_delivery),
                repeat(None),  # the same callback under its other name
                outputs.timestamps_ms[start:].tolist(),
                # The client takes lists only.
                repeat(None) if outputs.headers is None else [each and list(each) for each in outputs.headers[start:]],
            ),
            maxlen=0,
        )
    except BufferError:
        # The refused record was already taken from the iterator.
        return len(outputs) - length_hint(values) - 1
    return len(outputs)
