import pytest

from millrace.client.dead_letters import (
    DeadLetter,
    ReplayOptions,
    dead_letters_topic,
    later,
    letters_of,
    returned,
)
from millrace.codec.dead_letters import REPLAYS, Circumstances, dead_letters
from millrace.core.columns import Rejection
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.records import Coordinates, NextOffset, RecordBatch, TopicPartition
from millrace.testing.records import record_batch


def dead(batch: RecordBatch) -> RecordBatch:
    """Every record of the batch as it lies in the dead letter topic."""
    rejections = [Rejection(row, InvalidRecordError(Reason.EMPTY, "no bytes")) for row in range(len(batch))]
    where = Circumstances("rain", "weather/4", "scorer-rain")
    out = dead_letters(batch, rejections, topic="rain.dlq", stage="decode", circumstances=where, failed_at_ms=99)
    headers = out.headers
    return record_batch(list(out.values), topic="rain.dlq", partition=1, keys=list(out.keys), headers=headers)


def letters(batch: RecordBatch) -> list[DeadLetter]:
    return list(letters_of(dead(batch)))


def test_a_letter_tells_where_it_came_from_and_why() -> None:
    [letter] = letters(record_batch([b""], topic="weather.features", partition=1, first_offset=7, keys=[b"k"]))
    assert letter.at == Coordinates("rain.dlq", 1, 0)
    document = letter.document()
    assert document["source"] == "weather.features-1-7"
    assert (document["reason"], document["stage"], document["replays"]) == ("empty", "decode", 0)
    assert (document["key"], document["value"]) == ("k", "")


def test_a_letter_goes_back_as_it_was_and_one_replay_older() -> None:
    batch = record_batch([b"\xff"], topic="weather.features", partition=3, keys=[b"k"], headers=[[("id", b"e1")]])
    [letter] = letters(batch)
    [back] = returned([letter])
    assert back.topic == "weather.features"
    assert back.partitions.tolist() == [3]
    assert back.timestamps_ms.tolist() == [letter.timestamp_ms]
    assert (list(back.keys), list(back.values)) == ([b"k"], [b"\xff"])
    assert back.headers is not None
    assert dict(back.headers[0] or ())["id"] == b"e1"
    assert dict(back.headers[0] or ())[REPLAYS] == b"1"


def test_letters_of_several_topics_go_back_to_theirs() -> None:
    both = letters(record_batch([b"1"], topic="a")) + letters(record_batch([b"2"], topic="b"))
    assert {batch.topic: list(batch.values) for batch in returned(both)} == {"a": [b"1"], "b": [b"2"]}
    assert returned([]) == []


def test_what_is_no_letter_is_told_or_raised() -> None:
    batch = record_batch([b"x"], topic="rain.dlq")
    told: list[Coordinates] = []
    assert list(letters_of(batch, lambda at, _: told.append(at))) == []
    assert told == [Coordinates("rain.dlq", 0, 0)]
    with pytest.raises(RequestError, match="no dead letter"):
        list(letters_of(batch))


def test_the_later_of_two_marks_counts() -> None:
    one, two, three = (TopicPartition("t", number) for number in range(3))
    marks = later({one: NextOffset(5), two: NextOffset(1)}, {two: NextOffset(4), three: NextOffset(2)})
    assert marks == {one: 5, two: 4, three: 2}


def test_a_bound_that_refuses_everything_is_refused() -> None:
    with pytest.raises(RequestError, match="a bound of 0 replays"):
        ReplayOptions(max_replays=0)


def test_a_deployment_means_its_dead_letters() -> None:
    assert dead_letters_topic("rain") == dead_letters_topic("rain.dlq") == "rain.dlq"
