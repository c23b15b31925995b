"""What sending puts into a topic of a real broker."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from millrace.client import ArrowEncoder, Client, Label, SendOptions, Sent
from millrace.core.errors import RequestError, TransientError
from millrace.core.records import RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Reader
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory

JAVA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Hashes that Kafka's Java clients are tested with (`UtilsTest.testMurmur2`)."""


def content(client: Client, topic: str) -> RecordBatch:
    with Reader(client.kafka, topic) as reader:
        return RecordBatch.concat(list(reader))


def java_partition(key: bytes, partitions: int) -> int:
    return (JAVA_MURMUR2[key] & 0x7FFFFFFF) % partitions


@pytest.fixture
def client(broker: Broker) -> Client:
    return Client(broker.kafka)


def test_keys_lie_where_the_java_clients_put_them(client: Client, topic: TopicFactory) -> None:
    name = topic(partitions=7)
    rows = [{"key": key.decode(), "n": number} for number, key in enumerate(JAVA_MURMUR2)]
    client.send(name, rows, SendOptions(key_field="key"))
    batch = content(client, name)
    found = dict(zip(batch.keys, batch.partitions.tolist(), strict=True))
    assert found == {key: java_partition(key, 7) for key in JAVA_MURMUR2}


def test_a_file_becomes_records_in_order(client: Client, topic: TopicFactory, tmp_path: Path) -> None:
    name = topic(retention_ms="-1")
    path = tmp_path / "rows.csv"
    path.write_text("station,wind,at\n" + "".join(f"omaha,{n}.5,{1_700_000_000_000 + n}\n" for n in range(5_000)))
    told: list[Sent] = []
    sent = client.send(name, path, SendOptions(key_field="station", timestamp_field="at"), on_sent=told.append)
    assert (sent.rows, sent.records, sent.topic) == (5_000, 5_000, name)
    assert told[-1].done == told[-1].total == path.stat().st_size
    batch = content(client, name)
    assert [json.loads(value or b"")["wind"] for value in batch.values] == [n + 0.5 for n in range(5_000)]
    assert batch.timestamps_ms.tolist() == [1_700_000_000_000 + n for n in range(5_000)]
    assert set(batch.keys) == {b"omaha"}


def test_records_that_the_topic_would_delete_are_refused(client: Client, topic: TopicFactory) -> None:
    old = [{"at": "1999-12-31"}]
    with pytest.raises(RequestError, match="keeps records for 7 days"):
        client.send(topic(), old, SendOptions(timestamp_field="at"))
    new = topic().replace(".features", "-old.features")
    options = SendOptions(timestamp_field="at", create_partitions=1)
    assert client.send(new, old, options).records == 1
    assert Admin(client.kafka).topic_config(new)["retention.ms"] == "-1"


def test_lines_travel_as_they_are(client: Client, topic: TopicFactory) -> None:
    name = topic()
    lines = [b'{ "a": 1}', b"damaged", b"\xff"]
    client.send(name, iter(lines))
    assert list(content(client, name).values) == lines


def test_many_rows_in_a_record(client: Client, topic: TopicFactory) -> None:
    name = topic()
    sent = client.send(name, [{"n": n} for n in range(250)], SendOptions(encoder=ArrowEncoder(rows_per_record=100)))
    assert (sent.rows, sent.records) == (250, 3)
    assert content(client, name).headers[0] == [("content-type", b"application/vnd.apache.arrow.stream")]


def test_a_stream_means_its_features_and_a_new_one_is_made_when_asked(client: Client, topic: TopicFactory) -> None:
    stream = topic().removesuffix(".features")
    assert client.send(stream, [{"a": 1}]).topic == f"{stream}.features"
    new = f"{stream}-new"
    assert client.send(new, [{"a": 1}], SendOptions(create_partitions=3)).topic == f"{new}.features"
    assert client.send(new, [{"a": 2}], SendOptions(create_partitions=9, partition=2)).records == 1
    assert max(content(client, f"{new}.features").partitions.tolist()) == 2


def test_a_topic_that_is_not_there_is_refused(client: Client) -> None:
    with pytest.raises(RequestError, match="there is no topic 'no-such-stream'"):
        client.send("no-such-stream", [{"a": 1}])


def test_a_partition_that_is_not_there_is_refused(client: Client, topic: TopicFactory) -> None:
    with pytest.raises(RequestError, match="has no partition 5") as refused:
        client.send(topic(partitions=2), [{"a": 1}], SendOptions(partition=5))
    assert refused.value.remedy == "its partitions are 0 to 1"


def test_a_record_that_is_too_large_is_refused(client: Client, topic: TopicFactory) -> None:
    with pytest.raises(RequestError, match="a record of 1000002 bytes is too large"):
        client.send(topic(), iter([b'"' + b"x" * 1_000_000 + b'"']))


def test_the_rate_is_kept(client: Client, topic: TopicFactory) -> None:
    sent = client.send(topic(), [{"n": n} for n in range(100)], SendOptions(rate=250))
    assert 0.3 < sent.elapsed_secs < 3
    assert sent.records == 100


def test_a_broker_that_is_away_is_said_so() -> None:
    with pytest.raises(TransientError, match="cannot be reached") as away:
        Client("127.0.0.1:1").send("any", [{"a": 1}])
    assert "MILLRACE_KAFKA__BOOTSTRAP" in away.value.remedy


def test_labels_lie_in_the_partition_of_their_event(client: Client, topic: TopicFactory) -> None:
    stream = topic("labels", partitions=7).removesuffix(".labels")
    labels = [Label(f"e{n}", "yes", 5, key=key) for n, key in enumerate(JAVA_MURMUR2)]
    labels.append(Label(f"{stream}.features-3-17", "no", 6))
    assert client.labels(stream, labels) == 7
    batch = content(client, f"{stream}.labels")
    found: Sequence[tuple[bytes | None, int]] = list(zip(batch.keys, batch.partitions.tolist(), strict=True))
    assert set(found) == {(key, java_partition(key, 7)) for key in JAVA_MURMUR2} | {(None, 3)}
