"""Writing once for each key: repeated, restarted, contended."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta

import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.reading import Reader
from millrace.kafka.receipts import Keyed, Receipt, ReceiptBook
from millrace.kafka.writing import at_writing
from millrace.process.clock import SystemClock
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory

DIGEST = "sha256:" + "a" * 64


@contextmanager
def opened(broker: Broker, now: Callable[[], int] | None = None) -> Iterator[ReceiptBook]:
    with closing(ReceiptBook(broker.kafka, now or SystemClock().wall_ms)) as book:
        yield book


def keyed(topic: str, key: str, values: Sequence[bytes], digest: str = DIGEST) -> Keyed:
    count = len(values)
    batch = OutputBatch(topic, np.arange(count, dtype=np.int32) % 2, at_writing(count), [None] * count, values)
    return Keyed(key, digest, batch)


def values(broker: Broker, topic: str) -> dict[tuple[int, int], bytes | None]:
    with Reader(broker.kafka, topic) as reader:
        return {
            (int(partition), int(offset)): value
            for batch in reader
            for partition, offset, value in zip(batch.partitions, batch.offsets, batch.values, strict=True)
        }


def test_a_receipt_says_where_each_record_lies(broker: Broker, topic: TopicFactory) -> None:
    name, key = topic(partitions=2), uuid.uuid4().hex
    with opened(broker) as book:
        (receipt,) = book.write([keyed(name, key, [b"a", b"b", b"c"])])
    assert isinstance(receipt, Receipt)
    found = values(broker, name)
    places = zip(receipt.partitions, receipt.offsets, strict=True)
    assert [found[place] for place in places] == [b"a", b"b", b"c"]


def test_the_same_key_is_written_once_by_anybody(broker: Broker, topic: TopicFactory) -> None:
    name, key = topic(partitions=2), uuid.uuid4().hex
    entry = keyed(name, key, [b"a", b"b"])
    with opened(broker) as first:
        receipts = [*first.write([entry]), *first.write([entry, entry])]
        with opened(broker) as second:  # another process, or this one after a restart
            receipts += second.write([entry])
            other = keyed(name, f"{key}-2", [b"c"])
            receipts_of_other = second.write([other])
        receipts += first.write([entry])  # it was fenced, and goes on
        assert first.write([other]) == receipts_of_other
    assert len(set(map(repr, receipts))) == 1
    assert sorted(filter(None, values(broker, name).values())) == [b"a", b"b", b"c"]


def test_two_requests_with_one_key_in_one_turn(broker: Broker, topic: TopicFactory) -> None:
    name, key = topic(partitions=2), uuid.uuid4().hex
    with opened(broker) as book:
        outcomes = book.write([keyed(name, key, [b"a"]), keyed(name, key, [b"b"], "sha256:" + "b" * 64)])
    assert isinstance(outcomes[0], Receipt)
    assert isinstance(outcomes[1], RequestError)
    assert list(values(broker, name).values()) == [b"a"]


def test_after_the_window_a_key_is_new(broker: Broker, topic: TopicFactory) -> None:
    name, key = topic(partitions=2), uuid.uuid4().hex
    day = timedelta(hours=25) // timedelta(milliseconds=1)
    now = SystemClock().wall_ms() - day
    with opened(broker, lambda: now) as book:
        (before,) = book.write([keyed(name, key, [b"a"])])
        now += day
        (after,) = book.write([keyed(name, key, [b"a"])])
    assert isinstance(before, Receipt)
    assert isinstance(after, Receipt)
    assert after.offsets != before.offsets


def test_what_cannot_be_written_is_said_and_leaves_nothing(broker: Broker, topic: TopicFactory) -> None:
    name, key = topic(partitions=2, max_message_bytes="1000"), uuid.uuid4().hex
    with opened(broker) as book:
        (outcome,) = book.write([keyed(name, key, [b"a", b"x" * 5_000])])
        assert isinstance(outcome, RequestError), outcome
        (receipt,) = book.write([keyed(name, key, [b"b"])])
    assert isinstance(receipt, Receipt)
    assert list(values(broker, name).values()) == [b"b"]


@pytest.mark.parametrize("turns", [6])
def test_two_processes_that_take_turns_write_each_key_once(broker: Broker, topic: TopicFactory, turns: int) -> None:
    name, run = topic(partitions=2), uuid.uuid4().hex
    with opened(broker) as one, opened(broker) as other:
        for turn in range(turns):
            entry = keyed(name, f"{run}-{turn // 2}", [b"%d" % (turn // 2)])
            (outcome,) = (one, other)[turn % 2].write([entry])
            assert isinstance(outcome, Receipt), outcome
    assert sorted(filter(None, values(broker, name).values())) == [b"0", b"1", b"2"]
