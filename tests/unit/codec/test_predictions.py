import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pytest

from millrace.codec.predictions import (
    AvroPredictionEncoder,
    Identity,
    JsonPredictionEncoder,
    PredictionEncoder,
)
from millrace.codec.schemas import PREDICTION_AVRO_SCHEMA
from millrace.core.columns import Decoded, FeatureColumns
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.testing.records import binary_signature, record_batch

IDENTITY = Identity("rain", "weather", 3, "sha256:00ff")
CLASSES = binary_signature(Feature("a"))
NUMBER = Signature((Feature("a"),), (ModelInput("a", ("a",)),), Task.REGRESSION, "y")
AVRO_SCHEMA = fastavro.parse_schema(json.loads(PREDICTION_AVRO_SCHEMA))
KINDS = ["json", "avro"]


def encoder(kind: str, signature: Signature, identity: Identity = IDENTITY) -> PredictionEncoder:
    if kind == "json":
        return JsonPredictionEncoder(identity, signature)
    return AvroPredictionEncoder(identity, signature, schema_id=0x25_25_01_02)  # "%%" must not be read as a template


def read(kind: str, value: bytes) -> dict[str, Any]:
    """The prediction as an independent reader sees it, without what Avro adds where JSON is silent."""
    if kind == "json":
        return json.loads(value)  # type: ignore[no-any-return]
    assert value[:5] == b"\x00\x25\x25\x01\x02"
    stream = io.BytesIO(value[5:])
    found = fastavro.schemaless_reader(stream, AVRO_SCHEMA, None)
    assert not stream.read()
    assert isinstance(found, dict)
    found["outputs"] = {name: made for name, made in found["outputs"].items() if made is not None}
    if not found["source"]["row"]:
        del found["source"]["row"]
    if not found["degraded"]:
        del found["degraded"]
    return found


def decoded(records: RecordBatch, signature: Signature = CLASSES) -> Decoded:
    count = len(records)
    columns = FeatureColumns(signature, (np.zeros((count, 1), np.float32),))
    return Decoded(columns, np.arange(count), np.zeros(count, np.int32), None)


def classified(*scores: float) -> Outputs:
    second = np.array(scores, np.float32)
    return Outputs(np.stack((1 - second, second), axis=1), (second > 0.5).astype(np.intp))


@pytest.mark.parametrize("kind", KINDS)
def test_a_classification(kind: str) -> None:
    records = record_batch([b"", b""], topic="weather.features", partition=3, first_offset=1041)
    values = encoder(kind, CLASSES).encode(
        records, decoded(records), classified(0.25, 0.75), bins=[b"0a", b"1z"], scored_at_ms=1_700_000_000_000
    )
    assert len(values) == 2
    assert read(kind, values[1]) == {
        "event_id": "weather.features-3-1042",
        "source": {"topic": "weather.features", "partition": 3, "offset": 1042},
        "deployment": "rain",
        "model": "weather",
        "version": 3,
        "digest": "sha256:00ff",
        "transform": "identity",
        "outputs": {"label": "yes", "scores": {"no": 0.25, "yes": 0.75}},
        "bins": "1z",
        "event_time": 1043,
        "scored_at": 1_700_000_000_000,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_regression_without_profile_by_a_cheaper_variant(kind: str) -> None:
    records = record_batch([b""])
    outputs = Outputs(np.array([-1.5], np.float32), None)
    (value,) = encoder(kind, NUMBER).encode(
        records, decoded(records, NUMBER), outputs, bins=None, scored_at_ms=5, degraded=True
    )
    found = read(kind, value)
    assert found["outputs"] == {"value": -1.5}
    assert found["bins"] == ""
    assert found["degraded"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_record_are_numbered_from_the_second_on(kind: str) -> None:
    records = record_batch([b"", b""], topic="t", first_offset=7)
    rows = replace(decoded(records), source=np.array([0, 1, 1, 1]), rows=np.array([0, 0, 1, 2], np.int32))
    values = encoder(kind, CLASSES).encode(records, rows, classified(0, 0, 0, 1), bins=None, scored_at_ms=0)
    found = [read(kind, value) for value in values]
    assert [prediction["event_id"] for prediction in found] == ["t-0-7", "t-0-8", "t-0-8.1", "t-0-8.2"]
    assert [prediction["source"].get("row") for prediction in found] == [None, None, 1, 2]
    assert [prediction["event_time"] for prediction in found] == [8, 9, 9, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_own_ids_go_before_coordinates(kind: str) -> None:
    records = record_batch([b""] * 4, topic="t")
    named = replace(decoded(records), event_ids=['q"\\\n', None, "größe %d", "x" * 300])
    values = encoder(kind, CLASSES).encode(records, named, classified(0, 0, 0, 0), bins=None, scored_at_ms=0)
    expected = ['q"\\\n', "t-0-1", "größe %d", "x" * 300]
    assert [read(kind, value)["event_id"] for value in values] == expected
    named = replace(named, event_ids=["a", "b", "c", "d"])
    values = encoder(kind, CLASSES).encode(records, named, classified(0, 0, 0, 0), bins=None, scored_at_ms=0)
    assert [read(kind, value)["event_id"] for value in values] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_may_hold_anything(kind: str) -> None:
    odd = '50 % %b "größe"\\'
    signature = replace(CLASSES, classes=("%d", odd))
    records = record_batch([b""])
    (value,) = encoder(kind, signature, Identity(odd, odd, 1, odd, odd)).encode(
        records, decoded(records), classified(1), bins=[b"%d"], scored_at_ms=37 << 6
    )
    found = read(kind, value)
    assert [found[name] for name in ("deployment", "model", "digest", "transform")] == [odd] * 4
    assert found["outputs"] == {"label": odd, "scores": {"%d": 0, odd: 1}}
    assert found["bins"] == "%d"


@pytest.mark.parametrize("kind", KINDS)
def test_many_classes(kind: str) -> None:
    names = tuple(f"class {index}" for index in range(1000))
    signature = replace(CLASSES, task=Task.MULTICLASS, classes=names)
    records = record_batch([b""] * 3)
    scores = np.random.default_rng(0).random((3, 1000)).astype(np.float32)
    outputs = Outputs(scores, np.argmax(scores, axis=1))
    values = encoder(kind, signature).encode(records, decoded(records), outputs, bins=None, scored_at_ms=0)
    for row, value in enumerate(values):
        found = read(kind, value)["outputs"]
        assert list(found["scores"]) == list(names)
        assert np.array(list(found["scores"].values()), np.float32).tolist() == scores[row].tolist()
        assert found["label"] == names[int(scores[row].argmax())]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_read_back_to_the_bit(kind: str) -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    records = record_batch([b""] * len(numbers))
    values = encoder(kind, NUMBER).encode(
        records, decoded(records, NUMBER), Outputs(numbers, None), bins=None, scored_at_ms=0
    )
    found = np.array([read(kind, value)["outputs"]["value"] for value in values], np.float32)
    assert found.tobytes() == numbers.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_without_a_timestamp_happened_when_it_was_scored(kind: str) -> None:
    records = replace(record_batch([b"", b""]), timestamps_ms=np.array([-1, 0]))
    values = encoder(kind, CLASSES).encode(records, decoded(records), classified(0, 0), bins=None, scored_at_ms=99)
    assert [read(kind, value)["event_time"] for value in values] == [99, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_make_no_predictions(kind: str) -> None:
    records = RecordBatch.empty("t")
    outputs = Outputs(np.empty((0, 2), np.float32), np.empty(0, np.intp))
    assert encoder(kind, CLASSES).encode(records, decoded(records), outputs, bins=[], scored_at_ms=0) == []
