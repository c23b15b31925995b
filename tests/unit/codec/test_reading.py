import io
import json
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest

from millrace.codec.reading import read_label, read_prediction
from millrace.codec.schema_source import NO_SCHEMAS, FirstOf, GivenSchemas
from millrace.codec.schemas import LABEL_AVRO_SCHEMA, PREDICTION_AVRO_SCHEMA
from millrace.core.errors import InvalidRecordError, Reason

PREDICTION: dict[str, Any] = {
    "event_id": "t-0-1",
    "source": {"topic": "t", "partition": 0, "offset": 1},
    "deployment": "rain",
    "model": "weather",
    "version": 3,
    "digest": "sha256:00",
    "transform": "identity",
    "outputs": {"label": "yes", "scores": {"no": 0.25, "yes": 0.75}},
    "bins": "0a",
    "event_time": 1,
    "scored_at": 2,
}
LABEL: dict[str, Any] = {"event_id": "t-0-1", "label": "yes", "label_time": 5}


def avro(document: Mapping[str, Any], schema: str) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, json.loads(schema), document)
    return b"\x00\x00\x00\x00\x07" + stream.getvalue()


def reason(value: bytes | None, **options: Any) -> Reason:  # noqa: ANN401
    with pytest.raises(InvalidRecordError) as caught:
        read_prediction(value, **options)
    return caught.value.reason


@pytest.mark.parametrize(
    "document",
    [
        PREDICTION,
        PREDICTION | {"outputs": {"value": -1.5}, "degraded": True},
        PREDICTION | {"source": {"topic": "t", "partition": 0, "offset": 1, "row": 4}},
    ],
)
def test_a_prediction_reads_alike_in_both_formats(document: dict[str, Any]) -> None:
    assert read_prediction(json.dumps(document).encode()) == document
    encoded = avro(document, PREDICTION_AVRO_SCHEMA)
    assert read_prediction(encoded) == document
    assert read_prediction(encoded, schemas=GivenSchemas({7: PREDICTION_AVRO_SCHEMA})) == document


def test_a_later_writers_fields_are_passed_over() -> None:
    assert read_prediction(json.dumps(PREDICTION | {"new": 1}).encode()) == PREDICTION


def test_a_schema_of_another_version_is_asked_for() -> None:
    fields = json.loads(PREDICTION_AVRO_SCHEMA)
    fields["fields"].insert(0, {"name": "new", "type": "long"})
    schemas = FirstOf((NO_SCHEMAS, GivenSchemas({7: json.dumps(fields)})))
    assert read_prediction(avro(PREDICTION | {"new": 1}, json.dumps(fields)), schemas=schemas) == PREDICTION


def test_what_is_no_prediction_says_why() -> None:
    whole = avro(PREDICTION, PREDICTION_AVRO_SCHEMA)
    assert reason(None) is Reason.TOMBSTONE
    assert reason(b"") is Reason.EMPTY
    assert reason(b"{") is Reason.TRUNCATED
    assert reason(b"{]") is Reason.MALFORMED
    assert reason(b"[]") is Reason.MALFORMED
    assert reason(b'{"a":"\xff"}') is Reason.INVALID_UTF8
    assert reason(b"{}") is Reason.SCHEMA_MISMATCH
    assert reason(json.dumps(PREDICTION | {"version": "3"}).encode()) is Reason.SCHEMA_MISMATCH
    assert reason(json.dumps(PREDICTION | {"outputs": {}}).encode()) is Reason.SCHEMA_MISMATCH
    assert reason(json.dumps(PREDICTION | {"outputs": {"label": "yes"}}).encode()) is Reason.SCHEMA_MISMATCH
    assert reason(whole[:3]) is Reason.TRUNCATED
    assert reason(whole[:-3]) is Reason.TRUNCATED
    assert reason(whole + b"\x00") is Reason.MALFORMED
    assert reason(whole, schemas=NO_SCHEMAS) is Reason.UNKNOWN_SCHEMA
    assert reason(whole, schemas=GivenSchemas({7: "{"})) is Reason.SCHEMA_MISMATCH
    assert reason(b"\x00\x00\x00\x00\x07\x02", schemas=GivenSchemas({7: '"int"'})) is Reason.SCHEMA_MISMATCH
    assert reason(b"\x00\x00\x00\x00\x07\x02\xff" + whole[7:]) is Reason.INVALID_UTF8


def test_labels() -> None:
    assert read_label(json.dumps(LABEL).encode()) == LABEL
    full = LABEL | {"revision": 2, "op": "retract", "source": "nurse", "weight": 0.5, "label": None}
    assert read_label(json.dumps(full).encode()) == full
    assert read_label(avro(full, LABEL_AVRO_SCHEMA)) == full
    with pytest.raises(InvalidRecordError, match="op"):
        read_label(json.dumps(LABEL | {"op": "delete"}).encode())
