"""Events and labels in, on a real broker: formats, keys, coordinates, idempotency, refusals."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import orjson
import pyarrow as pa
import pytest
from gateway_stage import GatewayStage

from millrace.client.sending import SendOptions, send
from millrace.core.records import Coordinates, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader, find
from millrace.testing.broker import Broker

LINES = {"Content-Type": "application/x-ndjson"}
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
PARTITIONS = 5


@dataclass
class Stream:
    broker: Broker
    name: str = field(default_factory=lambda: f"s-{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        names = (f"{self.name}.features", f"{self.name}.labels", f"{self.name}-by-client.features")
        Admin(self.broker.kafka).ensure_topics([TopicSpec(name, PARTITIONS) for name in names])

    @property
    def events(self) -> str:
        return f"/v1/streams/{self.name}/events"

    @property
    def labels(self) -> str:
        return f"/v1/streams/{self.name}/labels"

    def records(self, what: str = "features") -> RecordBatch:
        topic = f"{self.name}.{what}"
        with Reader(self.broker.kafka, topic) as reader:
            return RecordBatch.concat([RecordBatch.empty(topic), *reader])

    def at(self, coordinates: str) -> RecordBatch:
        return find(self.broker.kafka, Coordinates.parse(coordinates))


@pytest.fixture
def stream(broker: Broker) -> Stream:
    return Stream(broker)


@pytest.fixture
def client(stage: GatewayStage) -> Iterator[httpx.Client]:
    with stage.running() as client:
        yield client


def ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def test_one_object_one_array_and_lines(client: httpx.Client, stream: Stream) -> None:
    one = client.post(stream.events, json={"a": 1}).json()["coordinates"]
    two = client.post(stream.events, content=b'[{"a": 2} , {"a":3}]', headers={"Content-Type": "application/json"})
    lines = client.post(stream.events, content=b'{"a": 4}\n\n{"a":5}\r\n', headers=LINES)
    places = [*one, *two.json()["coordinates"], *lines.json()["coordinates"]]
    assert 'millrace_gateway_written_records_total{what="events"} 5.0' in client.get("/metrics").text
    values = [stream.at(place).values[0] for place in places]
    assert values == [b'{"a":1}', b'{"a": 2}', b'{"a":3}', b'{"a": 4}', b'{"a":5}'], "byte for byte"


def test_keys_lie_where_every_other_client_puts_them(client: httpx.Client, stream: Stream) -> None:
    rows = [{"station": f"st-{number}" * (number % 4), "n": number} for number in range(50)] + [{"station": 7, "n": 50}]
    body = b"\n".join(map(orjson.dumps, rows))
    places = client.post(stream.events, content=body, headers=LINES, params={"key_field": "station"}).json()
    send(stream.broker.kafka, f"{stream.name}-by-client", rows, SendOptions(key_field="station"))
    with Reader(stream.broker.kafka, f"{stream.name}-by-client.features") as reader:
        theirs = RecordBatch.concat(list(reader))
    expected = {
        orjson.loads(value or b"")["n"]: number for value, number in zip(theirs.values, theirs.partitions, strict=True)
    }
    ours = [Coordinates.parse(place).partition for place in places["coordinates"]]
    assert ours == [expected[number] for number in range(51)]
    assert stream.at(places["coordinates"][50]).keys == [b"7"]


def test_rows_of_arrow_are_named_one_by_one(client: httpx.Client, stream: Stream) -> None:
    table = pa.table({"station": [f"st-{number % 7}" for number in range(40)], "n": list(range(40))})
    places: list[Coordinates] = []
    for params in ({}, {"key_field": "station"}):
        answer = client.post(stream.events, content=ipc(table), headers=ARROW, params=params)
        assert answer.status_code == 200, answer.text
        places = list(map(Coordinates.parse, answer.json()["coordinates"]))
        assert len(set(places)) == 40
        for number in (0, 1, 6, 7, 39):
            record = stream.at(str(Coordinates(places[number].topic, places[number].partition, places[number].offset)))
            assert record.headers[0] == [("content-type", b"application/vnd.apache.arrow.stream")]
            with pa.ipc.open_stream(record.values[0]) as reader:
                assert reader.read_all()["n"][places[number].row].as_py() == number
    by_station = {(number % 7): {place.partition for place in places[number::7]} for number in range(7)}
    assert all(len(partitions) == 1 for partitions in by_station.values()), "equal keys lie together"


def test_what_is_too_large_for_one_record_becomes_several(client: httpx.Client, stream: Stream) -> None:
    table = pa.table({"text": [str(number) * 30_000 for number in range(100)]})
    places = client.post(stream.events, content=ipc(table), headers=ARROW).json()["coordinates"]
    assert len(set(places)) == 100
    assert len({Coordinates.parse(place).offset for place in places}) > 1


def test_a_request_that_is_repeated_is_answered_and_not_written(stage: GatewayStage, stream: Stream) -> None:
    body, name = b'[{"a":1},{"a":2}]', {"Idempotency-Key": f"order-{stream.name}"}
    headers = {"Content-Type": "application/json", **name}
    answers = []
    for _ in range(2):  # the second gateway is the first one after a restart
        with stage.running() as client:
            with ThreadPoolExecutor(8) as pool:
                sent = [pool.submit(client.post, stream.events, content=body, headers=headers) for _ in range(8)]
                answers += [each.result() for each in sent]
            other = client.post(stream.events, content=b"{}", headers=headers)
            assert (other.status_code, "used for something else" in other.text) == (400, True)
            labelled = client.post(stream.labels, content=b"{}", headers=headers)
            assert labelled.status_code == 400
    assert [answer.status_code for answer in answers] == [200] * 16
    assert len({answer.text for answer in answers}) == 1
    assert list(stream.records().values) == [b'{"a":1}', b'{"a":2}']


def test_labels_lie_beside_their_events(client: httpx.Client, stream: Stream) -> None:
    event = client.post(stream.events, json={"a": 1}).json()["coordinates"][0]
    label = {"event_id": event, "label": "rain", "label_time": 1_700_000_000_000}
    (place,) = client.post(stream.labels, json=label).json()["coordinates"]
    assert Coordinates.parse(place).partition == Coordinates.parse(event).partition
    table = pa.Table.from_pylist([{**label, "weight": 2.0}, {**label, "weight": None}])
    answer = client.post(stream.labels, content=ipc(table), headers=ARROW)
    assert [orjson.loads(value or b"").get("weight") for value in stream.records("labels").values] == [None, 2.0, None]
    assert {Coordinates.parse(each).partition for each in answer.json()["coordinates"]} == {
        Coordinates.parse(event).partition
    }
    keyed = [{"event_id": "order-7", "label": 1.5, "label_time": 1, "customer": "c-1"}]
    assert client.post(stream.labels, json=keyed).status_code == 400, "nothing tells its partition"
    (place,) = client.post(stream.labels, json=keyed, params={"key_field": "customer"}).json()["coordinates"]
    assert stream.at(place).keys == [b"c-1"]


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (LINES, b'{"a":1}\n[1]', "record 1"),
        (LINES, b'{"a":1}\n{"a":', "record 1"),
        (LINES, b'{"a":"\xff"}', "UTF-8"),
        (LINES, b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested"),
        ({"Content-Type": "application/json"}, b"", "record 0"),
        ({"Content-Type": "application/json"}, b"[1]", "record 0"),
        ({"Content-Type": "application/json"}, b'[{"a":1}', "truncated"),
        ({"Content-Type": "text/csv"}, b"a,b", "not read here"),
        (ARROW, b"no arrow", "Arrow"),
    ],
)
def test_what_is_no_event_is_refused_whole(
    client: httpx.Client, stream: Stream, headers: dict[str, str], body: bytes, words: str
) -> None:
    answer = client.post(stream.events, content=body, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not len(stream.records())


def test_other_refusals(client: httpx.Client, stream: Stream) -> None:
    assert client.post("/v1/streams/nobody-knows/events", json={}).status_code == 404
    assert client.post("/v1/streams/..%2F/events", json={}).status_code in {400, 404}
    assert client.post(stream.events, content=b'{"a":"' + b"x" * 2_000_000 + b'"}', headers=LINES).status_code == 413
    assert client.post(stream.events, content=b"{}\n" * 20_001, headers=LINES).status_code == 413
    missing = client.post(stream.events, json={"a": 1}, params={"key_field": "station"})
    assert (missing.status_code, "station" in missing.json()["error"]) == (400, True)
    bad = client.post(stream.labels, json={"event_id": "x", "label_time": -1, "label": 1})
    assert (bad.status_code, "no label" in bad.json()["error"]) == (400, True)
    assert client.post(stream.events, json={}, headers={"Idempotency-Key": "with space"}).status_code == 400


def test_curl(client: httpx.Client, stream: Stream, stage: GatewayStage) -> None:
    curl = shutil.which("curl")
    assert curl, "install curl"
    command = [
        curl,
        "-sS",
        "--fail-with-body",
        "-H",
        LINES["Content-Type"].join(("Content-Type: ", "")),
        "--data-binary",
    ]
    ran = subprocess.run([*command, '{"a":1}\n{"a":2}', stage.url + stream.events], capture_output=True, check=False)
    assert ran.returncode == 0, ran
    assert len(orjson.loads(ran.stdout)["coordinates"]) == 2
