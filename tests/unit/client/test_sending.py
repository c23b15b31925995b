import pytest

from millrace.client.encoding import ArrowEncoder
from millrace.client.sending import SendOptions, Sent, choose_topic, pause_secs, refuse_expired, to_records
from millrace.client.sources import Chunk
from millrace.core.errors import RequestError
from millrace.kafka.writing import BY_KEY, NOW

CHUNK = Chunk(first=1, done=0, total=None, rows=[{"k": "a", "t": 5}, {"k": "b", "t": 6}])


def test_records_carry_key_and_timestamp_fields() -> None:
    batch = to_records("t", CHUNK, SendOptions(key_field="k", timestamp_field="t"), "x")
    assert list(batch.keys) == [b"a", b"b"]
    assert batch.timestamps_ms.tolist() == [5, 6]
    assert batch.partitions.tolist() == [BY_KEY, BY_KEY]
    assert list(batch.values) == [b'{"k":"a","t":5}', b'{"k":"b","t":6}']
    assert batch.headers is None


def test_without_fields_records_have_no_key_and_the_time_of_writing() -> None:
    batch = to_records("t", CHUNK, SendOptions(partition=3), "x")
    assert list(batch.keys) == [None, None]
    assert batch.timestamps_ms.tolist() == [NOW, NOW]
    assert batch.partitions.tolist() == [3, 3]


def test_a_record_of_many_rows_has_no_key_of_a_row() -> None:
    with pytest.raises(RequestError, match="one key and one timestamp"):
        SendOptions(encoder=ArrowEncoder(), key_field="k")
    batch = to_records("t", CHUNK, SendOptions(encoder=ArrowEncoder()), "x")
    assert len(batch) == 1
    assert batch.headers == ([("content-type", b"application/vnd.apache.arrow.stream")],)


@pytest.mark.parametrize(
    ("rows", "elapsed", "pause"), [(0, 0.0, 0.0), (100, 0.5, 0.5), (100, 1.0, 0.0), (100, 9.0, 0.0)]
)
def test_the_pause_keeps_to_the_rate(rows: int, elapsed: float, pause: float) -> None:
    assert pause_secs(rows, elapsed, 100.0) == pause


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="a rate of 0 rows a second sends nothing"):
        SendOptions(rate=0)


def test_a_stream_means_its_features() -> None:
    topics = frozenset({"weather.features", "clicks", "clicks.features"})
    assert choose_topic(topics, "weather") == "weather.features"
    assert choose_topic(topics, "weather.features") == "weather.features"
    assert choose_topic(topics, "clicks") == "clicks"


def test_a_topic_that_is_not_there_is_said_with_what_is_alike() -> None:
    with pytest.raises(RequestError, match=r"there is no topic 'wether', nor 'wether\.features'") as refused:
        choose_topic(frozenset({"weather"}), "wether")
    assert "did you mean 'weather'?" in refused.value.remedy
    assert "--create" in refused.value.remedy


def test_the_rate_so_far() -> None:
    assert Sent("t", rows=50, elapsed_secs=2.0).rows_per_sec == 25
    assert Sent("t").rows_per_sec == 0


DAY = 86_400_000
WEEK = {"retention.ms": str(7 * DAY), "cleanup.policy": "delete"}


@pytest.mark.parametrize(
    "config", [{}, WEEK, {**WEEK, "retention.ms": "-1"}, {**WEEK, "cleanup.policy": "compact", "retention.ms": "5"}]
)
def test_records_that_the_topic_keeps_are_welcome(config: dict[str, str]) -> None:
    batch = to_records("t", CHUNK, SendOptions(timestamp_field="t"), "x")
    refuse_expired(batch, config, now_ms=6 * DAY)


def test_records_that_the_topic_would_delete_are_refused() -> None:
    batch = to_records("t", CHUNK, SendOptions(timestamp_field="t"), "x")
    with pytest.raises(
        RequestError, match="'t' keeps records for 7 days, and the first ones are 8 days old"
    ) as refused:
        refuse_expired(batch, WEEK, now_ms=8 * DAY)
    assert "retention.ms=-1" in refused.value.remedy
