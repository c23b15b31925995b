"""Dead letters go back once, to where they came from, and not for ever."""

import numpy as np
import pytest

from millrace.client import Client, DeadLetter, Replayed, ReplayFrom, ReplayOptions
from millrace.codec.dead_letters import Circumstances, dead_letters, replays
from millrace.core.columns import Rejection
from millrace.core.errors import FatalError, InvalidRecordError, Reason, RequestError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.moving import Mover
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

WHERE = Circumstances("rain", "weather/1", "scorer-rain")


class Stream:
    """A source topic and its dead letters, with a scorer's hand to write them."""

    def __init__(self, broker: Broker, topic: TopicFactory) -> None:
        self.client = Client(broker.kafka)
        # The records are of 1970, which a topic forgets at its next look at its retention.
        self.source = topic("features", 2, retention_ms="-1")
        self.dlq = topic("dlq", 2, retention_ms="-1")

    def send(self, values: list[bytes]) -> None:
        with Writer(self.client.kafka) as writer:
            count = len(values)
            times = np.arange(1_000, 1_000 + count, dtype=np.int64)
            writer.write(OutputBatch(self.source, np.ones(count, np.int32), times, [b"k"] * count, values))

    def fail(self, reason: Reason, *, newest: int) -> None:
        """Write dead letters for the newest records of the source."""
        batch = self.content(self.source)
        batch = batch.take(slice(len(batch) - newest, None))
        rejections = [Rejection(row, InvalidRecordError(reason, "why")) for row in range(len(batch))]
        letters = dead_letters(batch, rejections, topic=self.dlq, stage="decode", circumstances=WHERE, failed_at_ms=5)
        with Writer(self.client.kafka) as writer:
            writer.write(letters)

    def content(self, topic: str) -> RecordBatch:
        with Reader(self.client.kafka, topic) as reader:
            return RecordBatch.concat([RecordBatch.empty(topic), *reader])

    def await_source(self, count: int) -> RecordBatch:
        """The source's records, once there are so many: what a commit wrote is readable a little after it."""

        def read() -> RecordBatch | None:
            batch = self.content(self.source)
            return batch if len(batch) >= count else None

        batch = eventually(read, what=f"{count} records")
        assert batch is not None
        return batch

    def replay(self, **options: object) -> Replayed:
        return self.client.replay_dead_letters(self.dlq, ReplayOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def stream(broker: Broker, topic: TopicFactory) -> Stream:
    return Stream(broker, topic)


def test_a_letter_goes_back_to_its_partition_as_it_was(stream: Stream) -> None:
    stream.send([b"\xff", b"{"])
    stream.fail(Reason.MALFORMED, newest=2)
    assert stream.replay() == Replayed(sent=2)
    batch = stream.await_source(4)
    assert list(batch.values) == [b"\xff", b"{", b"\xff", b"{"]
    assert batch.partitions.tolist() == [1] * 4
    assert batch.timestamps_ms.tolist() == [1_000, 1_001, 1_000, 1_001]
    assert list(batch.keys) == [b"k"] * 4
    assert [replays(headers) for headers in batch.headers] == [0, 0, 1, 1]


def test_a_second_replay_takes_only_what_came_since(stream: Stream) -> None:
    stream.send([b"1"])
    stream.fail(Reason.MALFORMED, newest=1)
    assert stream.replay() == Replayed(sent=1)
    assert stream.replay() == Replayed()
    stream.await_source(2)
    stream.fail(Reason.MALFORMED, newest=1)
    assert stream.replay() == Replayed(sent=1)
    assert stream.replay(begin=ReplayFrom.BEGINNING) == Replayed(sent=2)


def test_replays_of_one_reason_and_of_all_settle_each_letter_once(stream: Stream) -> None:
    stream.send([b"1"])
    stream.fail(Reason.MALFORMED, newest=1)
    stream.fail(Reason.EMPTY, newest=1)
    assert stream.replay(reason=Reason.EMPTY) == Replayed(sent=1, passed_over=1)
    assert stream.replay() == Replayed(sent=1, passed_over=1)
    assert stream.replay(reason=Reason.MALFORMED) == Replayed()


def test_the_loop_guard_refuses_what_came_back_too_often(stream: Stream) -> None:
    stream.send([b"bad"])
    refused: list[DeadLetter] = []
    results = []
    for round_trip in range(3):
        stream.await_source(round_trip + 1)
        stream.fail(Reason.MALFORMED, newest=1)
        options = ReplayOptions(max_replays=2)
        results.append(stream.client.replay_dead_letters(stream.dlq, options, on_refused=refused.append))
    assert results == [Replayed(sent=1), Replayed(sent=1), Replayed(refused=1)]
    assert [letter.story.replays for letter in refused] == [2]
    assert len(stream.await_source(3)) == 3


def test_what_is_no_letter_is_counted(stream: Stream) -> None:
    with Writer(stream.client.kafka) as writer:
        writer.write(OutputBatch(stream.dlq, np.zeros(1, np.int32), np.ones(1, np.int64), [None], [b"stray"]))
    assert stream.replay() == Replayed(unreadable=1)


def test_a_replay_that_was_taken_over_moves_nothing(stream: Stream) -> None:
    stream.send([b"1"])
    stream.fail(Reason.MALFORMED, newest=1)
    name = f"millrace-replay-{stream.dlq}"
    with Mover(stream.client.kafka, stream.dlq, name=name, begin={}) as slow:
        assert stream.replay() == Replayed(sent=1)
        batches = list(slow)
        with pytest.raises(FatalError, match="another process does the same"):
            slow.move([], batches[0].next_offsets())
    assert stream.replay() == Replayed()


def test_a_queue_that_is_not_there_is_said_so(stream: Stream) -> None:
    with pytest.raises(RequestError, match="there is no such topic"):
        stream.client.replay_dead_letters("no-such-deployment")
    with pytest.raises(RequestError, match=r"there is no topic 'no-such-deployment\.dlq'"):
        list(stream.client.dead_letters("no-such-deployment"))
