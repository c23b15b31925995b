import pytest

from millrace.codec.dead_letters import (
    FIRST_FAILURE_TIME,
    MESSAGE,
    REPLAYS,
    REQUIRED,
    Circumstances,
    DeadLetter,
    dead_letters,
    read_dead_letter,
    replay_headers,
    replays,
)
from millrace.core.columns import Rejection
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.records import Coordinates, OutputBatch, RecordBatch
from millrace.testing.records import record_batch

WHERE = Circumstances("rain", "weather/3", "scorer-rain")


def fail(records: RecordBatch, row: int, *, at_ms: int = 1000, detail: str = "cut") -> OutputBatch:
    rejection = Rejection(row, InvalidRecordError(Reason.TRUNCATED, detail))
    return dead_letters(records, [rejection], topic="rain.dlq", stage="decode", circumstances=WHERE, failed_at_ms=at_ms)


def test_a_dead_letter_is_the_record_and_its_story() -> None:
    records = record_batch(
        [b"good", b"\xff{"],
        topic="weather.features",
        partition=3,
        first_offset=41,
        keys=[b"a", b"\x00b"],
        headers=[None, [("trace", b"\xfe"), ("empty", None)]],
    )
    letters = fail(records, 1)
    assert letters.topic == "rain.dlq"
    assert letters.partitions.tolist() == [3]
    assert letters.timestamps_ms.tolist() == [43]
    assert letters.keys == [b"\x00b"]
    assert letters.values == [b"\xff{"]
    assert letters.headers is not None
    headers = letters.headers[0]
    assert headers is not None
    assert {name for name, _ in headers} == {*REQUIRED, "trace", "empty"}
    assert read_dead_letter(headers) == DeadLetter(
        source=Coordinates("weather.features", 3, 42),
        reason=Reason.TRUNCATED,
        message="cut",
        stage="decode",
        exception="InvalidRecordError",
        circumstances=WHERE,
        first_failure_ms=1000,
        replays=0,
        headers=(("trace", b"\xfe"), ("empty", None)),
    )


def test_a_tombstone_and_an_empty_list_of_failures() -> None:
    records = record_batch([None])
    assert fail(records, 0).values == [None]
    nothing = dead_letters(records, [], topic="t", stage="decode", circumstances=WHERE, failed_at_ms=0)
    assert len(nothing) == 0


def test_a_long_message_is_cut() -> None:
    letters = fail(record_batch([b""]), 0, detail="ü" * 5000)
    assert letters.headers is not None
    assert dict(letters.headers[0] or ())[MESSAGE] == ("ü" * 1000).encode()


def test_a_replayed_record_keeps_its_first_failure_and_counts() -> None:
    headers = [("trace", b"x")]
    for turn in range(3):
        letters = fail(record_batch([b"{"], headers=[headers]), 0, at_ms=1000 + turn)
        assert letters.headers is not None
        story = read_dead_letter(letters.headers[0])
        assert (story.replays, story.first_failure_ms) == (turn, 1000)
        headers = list(replay_headers(letters.headers[0]))  # type: ignore[arg-type]
        assert headers == [("trace", b"x"), (FIRST_FAILURE_TIME, b"1000"), (REPLAYS, b"%d" % (turn + 1))]


@pytest.mark.parametrize(("value", "count"), [(None, 0), (b"", 0), (b"2", 2), (b"-2", 0), (b"two", 0), (b"\xff", 0)])
def test_a_count_of_replays_that_is_none_is_zero(value: bytes | None, count: int) -> None:
    assert replays([(REPLAYS, value)]) == count
    assert replays(None) == 0


def test_what_is_no_dead_letter_is_said_to_be_none() -> None:
    with pytest.raises(RequestError, match=r"no dead letter: .*topic.* is absent"):
        read_dead_letter([("trace", b"x")])
    letters = fail(record_batch([b""]), 0)
    assert letters.headers is not None
    broken = [(name, b"?" if name.endswith("partition") else value) for name, value in letters.headers[0] or ()]
    with pytest.raises(RequestError, match="a header is absent or unreadable"):
        read_dead_letter(broken)
