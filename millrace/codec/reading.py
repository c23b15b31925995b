"""Predictions and labels, one at a time, for those who read a few of them."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from millrace.codec.avro_framing import HEADER_BYTES, MAGIC, parse_schema, read_framed, read_record, schema_id
from millrace.codec.schema_source import SchemaSource
from millrace.codec.schemas import LABEL_AVRO_SCHEMA, PREDICTION_AVRO_SCHEMA
from millrace.core.errors import InvalidRecordError, Reason

EventId: TypeAlias = Annotated[str, Meta(min_length=1)]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Ordinal: TypeAlias = Annotated[int, Meta(ge=1)]


class SourceDocument(TypedDict):
    """Where a prediction's record lies."""

    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$")]
    partition: Count
    offset: Count
    row: NotRequired[Ordinal]


class OutputsDocument(TypedDict, total=False):
    """A class with its scores, or a value."""

    label: str
    scores: dict[str, float]
    value: float


class PredictionDocument(TypedDict):
    """A prediction as its topic has it. Times are milliseconds since 1970."""

    event_id: EventId
    source: SourceDocument
    deployment: str
    model: str
    version: Ordinal
    digest: str
    transform: str
    outputs: OutputsDocument
    bins: Annotated[str, Meta(pattern=r"^[0-9a-z]*$")]
    event_time: Count
    scored_at: Count
    degraded: NotRequired[bool]
    enriched: NotRequired[dict[str, bool | int | float | str | None]]


class LabelDocument(TypedDict):
    """What the world says of an event. Times are milliseconds since 1970."""

    event_id: EventId
    label: NotRequired[str | float | int | bool | None]
    label_time: Count
    revision: NotRequired[Count]
    op: NotRequired[Literal["upsert", "retract"]]
    source: NotRequired[str | None]
    weight: NotRequired[Annotated[float, Meta(gt=0)]]


T = TypeVar("T")

_ONE_OF: Final = ({"label", "scores"}, {"value"})


def read_prediction(value: bytes | None, *, schemas: SchemaSource | None = None) -> PredictionDocument:
    """A prediction from the value of its record, JSON or Avro.

    Args:
        value: The record's value.
        schemas: Knows the schemas of Avro values; without it they are taken to be millrace's own.

    Raises:
        InvalidRecordError: The value is no prediction.
        TransientError: The schema registry cannot be reached.
    """
    document = _read(value, schemas, PREDICTION_AVRO_SCHEMA)
    prediction = _convert(_without_defaults(document), PredictionDocument)
    if set(prediction["outputs"]) not in _ONE_OF:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "the outputs are neither a label with scores nor a value")
    return prediction


def read_label(value: bytes | None, *, schemas: SchemaSource | None = None) -> LabelDocument:
    """A label from the value of its record, JSON or Avro; see `read_prediction`."""
    label = _convert(_read(value, schemas, LABEL_AVRO_SCHEMA), LabelDocument)
    if label.get("label") is None and label.get("op") != "retract":
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "a label without `label` can only retract one")
    return label


def _read(value: bytes | None, schemas: SchemaSource | None, own_schema: str) -> dict[str, Any]:
    if value is None:
        raise InvalidRecordError(Reason.TOMBSTONE, "the record has no value")
    if not value:
        raise InvalidRecordError(Reason.EMPTY, "the value has no bytes")
    if value[0] != MAGIC:
        return _read_json(value)
    if schemas is not None:
        return read_framed(value, schemas)
    schema_id(value)
    return read_record(value[HEADER_BYTES:], _parsed(own_schema))


def _read_json(value: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise InvalidRecordError(Reason.MALFORMED, f"the value is no JSON object: {error}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = Reason.TRUNCATED if "truncated" in str(error) else Reason.MALFORMED
        raise InvalidRecordError(reason, str(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidRecordError(Reason.INVALID_UTF8, str(error)) from None


def _convert(document: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, str(error)) from None


def _without_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """Avro writes what JSON leaves out."""
    kept = {name: value for name, value in document.items() if not (name == "degraded" and value is False)}
    match document:
        case {"outputs": dict(outputs)}:
            kept["outputs"] = {name: value for name, value in outputs.items() if value is not None}
    match document:
        case {"source": dict(source)}:
            kept["source"] = {name: value for name, value in source.items() if not (name == "row" and value == 0)}
    return kept


@cache
def _parsed(schema: str) -> Any:  # noqa: ANN401 - fastavro's own form of a schema
    return parse_schema(schema)
