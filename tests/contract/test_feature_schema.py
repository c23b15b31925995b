"""What the schema that follows from a signature accepts, the decoder accepts, and the other way round."""

import json
from typing import Any

import fastavro
import jsonschema
import numpy as np
import pytest

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.errors import RequestError
from millrace.core.feature_schema import avro_schema, json_schema
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task


def signature(*features: Feature, **policies: Any) -> Signature:  # noqa: ANN401
    inputs = tuple(ModelInput(feature.name, (feature.name,)) for feature in features)
    return Signature(features, inputs, Task.REGRESSION, "y", **policies)


EVERYTHING = signature(
    Feature("f32", DType.FLOAT32),
    Feature("f64", DType.FLOAT64, nullable=True),
    Feature("i32", DType.INT32),
    Feature("i64", DType.INT64),
    Feature("flag", DType.BOOL),
    Feature("text", DType.STRING),
    Feature("vector", DType.FLOAT32, (3,)),
    Feature("matrix", DType.INT32, (2, 2)),
    extra_fields=ExtraFields.REJECT,
)
GOOD = {
    "f32": 1.5,
    "f64": None,
    "i32": -3,
    "i64": 2**62,
    "flag": True,
    "text": "☂",
    "vector": [1, 2, 3.5],
    "matrix": [[1, 2], [3, 4]],
}


def decodes(document: object) -> bool:
    zero = np.zeros(1, np.int64)
    value = json.dumps(document).encode()
    records = RecordBatch("t", zero.astype(np.int32), zero, zero, [None], [value], [None])
    return not JsonDecoder(EVERYTHING, limits=Limits()).decode(records).rejections


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"f64": 1e300}, True),
        ({"matrix": [1, 2, 3, 4]}, True),
        ({"f32": 1e39}, False),
        ({"f32": None}, False),
        ({"f32": "1"}, False),
        ({"f32": True}, False),
        ({"i32": 2**31}, False),
        ({"i32": 1.5}, False),
        ({"i64": 2**63}, False),
        ({"flag": 1}, False),
        ({"text": 1}, False),
        ({"vector": [1, 2]}, False),
        ({"vector": [1, 2, 3, 4]}, False),
        ({"vector": [1, 2, "3"]}, False),
        ({"vector": 1}, False),
        ({"matrix": [[1, 2], [3]]}, False),
        ({"matrix": [[1, 2, 3, 4]]}, False),
        ({"extra": 1}, False),
    ],
)
def test_schema_and_decoder_agree(change: dict[str, object], is_good: bool) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(EVERYTHING, title="Everything"))
    document = GOOD | change
    assert validator.is_valid(document) is is_good
    assert decodes(document) is is_good


def test_a_nullable_feature_may_be_absent() -> None:
    document = {name: value for name, value in GOOD.items() if name != "f64"}
    assert jsonschema.Draft202012Validator(json_schema(EVERYTHING, title="Everything")).is_valid(document)
    assert decodes(document)


def test_where_infinity_is_allowed_numbers_have_no_bounds() -> None:
    schema = json_schema(signature(Feature("x"), not_finite=NotFinite.ALLOW), title="Any number")
    assert schema["properties"]["x"] == {"type": "number"}
    assert schema["additionalProperties"] is True


def test_the_avro_schema_is_one() -> None:
    schema = fastavro.parse_schema(avro_schema(EVERYTHING, name="Everything"))
    fastavro.validate(GOOD | {"matrix": [1, 2, 3, 4]}, schema)


@pytest.mark.parametrize("name", ["wind speed", "1st", "größe"])
def test_a_name_that_avro_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="cannot be a field of an Avro record"):
        avro_schema(signature(Feature(name)), name="Odd")
