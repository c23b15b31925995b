"""A scorer on the real broker: what goes in, what comes out."""

import json
from io import BytesIO
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from scorer_stream import MakeStream

from millrace.codec.reading import read_prediction
from millrace.codec.schemas import PREDICTION_AVRO_SCHEMA
from millrace.core.columns import FeatureColumns
from millrace.core.errors import Reason, RequestError
from millrace.serving.loading import load
from millrace.testing.models import linear_signature
from millrace.testing.schema_registry import running_registry
from millrace.testing.waiting import eventually

SOME_TIME_AGO = 1_600_000_000_000
GOOD = b'{"a": 0.5, "b": -1.25, "c": 3}'


def row(a: float, b: float = 0.0, c: float = 0.0) -> bytes:
    return json.dumps({"a": a, "b": b, "c": c}).encode()


def good_in_avro(kind: str) -> tuple[str, bytes]:
    """A schema whose fields are of this type, and the values of `GOOD` written with it."""
    schema = {"type": "record", "name": "Row", "fields": [{"name": name, "type": kind} for name in "abc"]}
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), json.loads(GOOD))
    return json.dumps(schema), body.getvalue()


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def test_each_record_becomes_the_prediction_of_its_model_to_the_bit(stream: MakeStream, tmp_path: Path) -> None:
    s = stream(partitions=2)
    values = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    s.send([row(*map(float, each)) for each in values], keys=[f"k{i % 7}".encode() for i in range(500)])
    with s.running():
        s.wait_for(500)
    with s.registry() as registry:
        entry, bundle = registry.open(s.model)
    model = load(bundle, version=entry.version)
    expected = model.engine.infer(FeatureColumns(linear_signature(), (values,)))
    inputs, outputs = s.records(s.source), s.records(f"{s.name}.predictions")
    assert len(outputs) == 500
    sent = {(int(p), int(o)): i for i, (p, o) in enumerate(zip(inputs.partitions, inputs.offsets, strict=True))}
    original = {value: index for index, value in enumerate(row(*map(float, each)) for each in values)}
    for index, document in enumerate(map(read_prediction, outputs.values)):
        source = document["source"]
        at = sent[(source["partition"], source["offset"])]
        which = original[inputs.values[at] or b""]
        assert source["topic"] == s.source
        assert int(outputs.partitions[index]) == source["partition"]
        assert outputs.keys[index] == inputs.keys[at]
        assert int(outputs.timestamps_ms[index]) == int(inputs.timestamps_ms[at])
        assert document["event_id"] == f"{s.source}-{source['partition']}-{source['offset']}"
        assert (document["deployment"], document["model"], document["version"]) == (s.name, s.model, 1)
        assert document["digest"] == entry.digest
        assert document["bins"] == expected.bins[which].decode()
        assert np.float32(document["outputs"]["scores"]["yes"]) == expected.outputs.scores[which, 1]


def test_predictions_of_a_partition_keep_the_order_of_its_records(stream: MakeStream) -> None:
    s = stream(partitions=3)
    s.send([row(i) for i in range(3000)])
    with s.running(s.deployment(batch={"max_records": 100})):
        s.wait_for(3000)
    by_partition: dict[int, list[int]] = {}
    for document in s.predictions():
        by_partition.setdefault(document["source"]["partition"], []).append(document["source"]["offset"])
    assert by_partition == {p: list(range(1000)) for p in range(3)}


BAD: dict[Reason, list[bytes | None]] = {
    Reason.TOMBSTONE: [None],
    Reason.EMPTY: [b"", b"  "],
    Reason.OVERSIZED: [b'{"a": 1, "b": 2, "c": 3, "x": "' + b"x" * 5000 + b'"}'],
    Reason.INVALID_UTF8: [b'{"a": 1, "b": 2, "c": 3, "x": "\xff\xfe"}'],
    Reason.TRUNCATED: [GOOD[:-5], b'{"a": 1, "b'],
    Reason.MALFORMED: [b"hello", GOOD.replace(b":", b";", 1), GOOD + GOOD, b"[1, 2, 3]", b"3"],
    Reason.TOO_DEEP: [b'{"a": 1, "b": 2, "c": 3, "x": ' + b"[" * 200 + b"]" * 200 + b"}"],
    Reason.MISSING_FIELD: [b'{"a": 1, "b": 2}', b"{}", b'{"a": 1, "b": 2, "c": null}'],
    Reason.WRONG_TYPE: [b'{"a": "1", "b": 2, "c": 3}', b'{"a": true, "b": 2, "c": 3}'],
    Reason.NOT_FINITE: [b'{"a": NaN, "b": 2, "c": 3}', b'{"a": 1e999, "b": 2, "c": 3}'],
}


def test_each_bad_record_is_a_dead_letter_once_with_its_reason_and_neighbours_are_scored(
    stream: MakeStream,
) -> None:
    s = stream()
    values: list[bytes | None] = []
    expected: list[tuple[int, Reason]] = []
    for reason, bad in BAD.items():
        for value in bad:
            expected.append((len(values), reason))
            values += [value, GOOD]
    s.send(values, keys=[str(i).encode() for i in range(len(values))], headers=[[("trace", b"t")]] * len(values))
    with s.running(s.deployment(limits={"record_bytes": 4096})):
        s.wait_for(len(values) - len(expected))
        s.wait_for(len(expected), f"{s.name}.dlq")
        s.send([GOOD])
        s.wait_for(len(values) - len(expected) + 1)
    assert [(letter.source.offset, letter.reason) for letter in s.dead_letters()] == expected
    scored = [document["source"]["offset"] for document in s.predictions()]
    assert scored == [i for i in range(len(values) + 1) if i not in dict(expected)]
    letters = s.records(f"{s.name}.dlq")
    for index, (offset, _) in enumerate(expected):
        assert letters.values[index] == values[offset]
        assert letters.keys[index] == str(offset).encode()
        assert ("trace", b"t") in list(letters.headers[index] or ())


def test_avro_and_arrow_records_are_scored_like_json(stream: MakeStream, tmp_path: Path) -> None:
    s = stream()
    schema, avro = good_in_avro("double")
    (tmp_path / "row.avsc").write_text(schema)
    rows = {"a": [0.5, 1], "b": [-1.25, 0], "c": [3, 0]}
    table = pa.table({name: pa.array(values, pa.float32()) for name, values in rows.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = sink.getvalue().to_pybytes()
    s.send(
        [framed(7, avro), GOOD, arrow, framed(8, avro)],
        headers=[
            None,
            [("content-type", b"application/json")],
            [("content-type", b"application/vnd.apache.arrow.stream")],
            None,
        ],
    )
    with s.running(s.deployment(source={"format": "avro", "schemas": {"7": str(tmp_path / "row.avsc")}})):
        s.wait_for(4)
    found = s.predictions()
    assert [document["event_id"].removeprefix(f"{s.source}-0-") for document in found] == ["0", "1", "2", "2.1"]
    assert found[0]["outputs"] == found[1]["outputs"] == found[2]["outputs"] != found[3]["outputs"]
    assert [letter.reason for letter in s.dead_letters()] == [Reason.UNKNOWN_SCHEMA]


def test_a_schema_registry_knows_the_records_and_gets_to_know_the_predictions(stream: MakeStream) -> None:
    s = stream()
    schema, avro = good_in_avro("float")
    with running_registry() as registry:
        known = registry.register(schema)
        s.send([framed(known, avro), framed(99, avro)])
        with s.running(s.deployment(source={"format": "avro", "registry": registry.url}, sink={"format": "avro"})):
            s.wait_for(1)
            s.wait_for(1, f"{s.name}.dlq")
        [value] = s.records(f"{s.name}.predictions").values
        written = registry.schemas[int.from_bytes((value or b"")[1:5], "big")]
    assert written == PREDICTION_AVRO_SCHEMA
    prediction = read_prediction(value)
    assert (prediction["source"]["offset"], prediction["model"]) == (0, s.model)
    assert [letter.reason for letter in s.dead_letters()] == [Reason.UNKNOWN_SCHEMA]


def test_while_the_schema_registry_is_away_records_wait(stream: MakeStream) -> None:
    s = stream()
    schema, avro = good_in_avro("float")
    with running_registry() as registry:
        known = registry.register(schema)
        registry.status = 500
        s.send([framed(known, avro)] * 3)
        with s.running(s.deployment(source={"format": "avro", "registry": registry.url})):
            eventually(lambda: len(registry.asked) > 2, what="three questions")
            registry.status = None
            s.wait_for(3)
    assert s.dead_letters() == []


@pytest.mark.parametrize("delivery", ["at_least_once", "shared"])
def test_the_other_deliveries_score_every_record(stream: MakeStream, delivery: str) -> None:
    s = stream(partitions=2)
    s.send([row(i) for i in range(200)] + [b"bad"])
    deployment = s.deployment(delivery=delivery)
    with s.running(deployment, slot=0), s.running(deployment, slot=1):
        s.wait_for(200)
        s.wait_for(1, f"{s.name}.dlq")
    assert {(d["source"]["partition"], d["source"]["offset"]) for d in s.predictions()} >= {
        (i % 2, i // 2) for i in range(200)
    }


def test_a_model_that_an_alias_moves_to_takes_over_between_batches(stream: MakeStream, tmp_path: Path) -> None:
    s = stream()
    with s.running(s.deployment(batch={"max_records": 50})):
        s.send([row(i) for i in range(500)])
        s.wait_for(500)
        assert s.push(tmp_path / "second", weights=(2, 2, 2)) == 2
        with s.registry() as registry:
            registry.set_alias("champion", f"{s.model}/2")
        sent = 500
        while s.predictions()[-1]["version"] == 1:
            s.send([row(i) for i in range(50)])
            sent += 50
            s.wait_for(sent)
    found = s.predictions()
    assert [document["source"]["offset"] for document in found] == list(range(sent))
    versions = [document["version"] for document in found]
    assert versions == sorted(versions)
    assert {document["digest"] for document in found if document["version"] == 1} != {found[-1]["digest"]}


def test_records_too_old_are_shed_to_the_late_topic_where_that_is_declared(stream: MakeStream) -> None:
    s = stream()
    s.send([row(1)] * 3, at_ms=1_000_000_000_000)
    s.send([row(2)] * 2)
    with s.running(s.deployment(overload={"shed_after_ms": 600_000})):
        s.wait_for(2)
        s.wait_for(3, f"{s.name}.late")
    assert [document["source"]["offset"] for document in s.predictions()] == [3, 4]
    late = s.records(f"{s.name}.late")
    assert list(late.values) == [row(1)] * 3
    assert [dict(headers or ())["millrace.late.source"] for headers in late.headers] == [
        f"{s.source}-0-{offset}".encode() for offset in range(3)
    ]


def test_the_declared_variant_scores_what_is_behind_schedule_and_says_so(stream: MakeStream, tmp_path: Path) -> None:
    s = stream()
    s.push(tmp_path / "cheap", weights=(0, 0, 1), name=f"{s.model}-cheap")
    s.send([row(1)] * 3, at_ms=SOME_TIME_AGO)
    with s.running(s.deployment(overload={"variant": f"{s.model}-cheap", "variant_after_ms": 5000})):
        s.wait_for(3)
    assert [(document["model"], document.get("degraded")) for document in s.predictions()] == [
        (f"{s.model}-cheap", True)
    ] * 3


def test_what_was_learned_of_costs_is_there_for_the_next_worker(stream: MakeStream) -> None:
    s = stream()
    with s.running():
        s.send([row(i) for i in range(100)])
        s.wait_for(100)
    with s.registry() as registry:
        learned = registry.curves(registry.resolve(s.model))["cpu"]
    assert learned["score"]["cells"]
    assert learned["commit"]["cells"]


def test_a_topic_or_a_model_that_does_not_exist_is_said_with_the_remedy(stream: MakeStream) -> None:
    s = stream()
    no_topic = s.refuses(s.deployment(source={"topic": f"{s.name}.absent"}))
    assert f"{s.name}.absent" in no_topic.message
    assert no_topic.remedy
    no_model = s.refuses(s.deployment(model="absent@champion"))
    assert isinstance(no_model, RequestError)
    assert "absent" in no_model.message
    no_version = s.refuses(s.deployment(model=f"{s.model}/9"))
    assert "9" in no_version.message
