"""Confluent's framing of Avro: a zero byte, the schema id in four bytes, the record."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException

from millrace.codec.schema_source import GivenSchemas, SchemaSource
from millrace.core.errors import InvalidRecordError, Reason, RequestError

MAGIC: Final = 0
HEADER_BYTES: Final = 5

# What fastavro raises for bytes that are not a record of the schema.
BROKEN: Final = (
    EOFError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, StopIteration, TypeError, ValueError,
)  # fmt: skip


def schema_id(value: bytes) -> int:
    """The id of the schema that the record was written with.

    Raises:
        InvalidRecordError: The value is not framed.
    """
    if value[:1] != b"\x00":
        raise InvalidRecordError(
            Reason.MALFORMED, f"the value starts with byte {value[:1].hex()} instead of 00 and a schema id"
        )
    if len(value) < HEADER_BYTES:
        raise InvalidRecordError(Reason.TRUNCATED, f"the value ends inside the schema id, after {len(value)} bytes")
    return int.from_bytes(value[1:HEADER_BYTES], "big")


def parse_schema(text: str) -> Any:  # noqa: ANN401 - fastavro's own form of a schema
    """The schema as fastavro wants it.

    Raises:
        InvalidRecordError: It is no Avro schema; reason `schema_mismatch`.
    """
    try:
        return fastavro.parse_schema(json.loads(text))
    except (SchemaParseException, *BROKEN) as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, f"the schema cannot be parsed: {error}") from None


def read_schemas(files: Mapping[int, Path]) -> GivenSchemas:
    """The schemas that a deployment brings with it, by their ids.

    Raises:
        RequestError: A file cannot be read, or holds no Avro schema.
    """
    given = GivenSchemas.read(files)
    for number, text in given.texts.items():
        try:
            parse_schema(text)
        except InvalidRecordError as error:
            raise RequestError(
                f"schema {number} in {files[number]} is none: {error.detail}",
                remedy="correct the file, or the path in source.schemas",
            ) from None
    return given


def read_record(body: bytes, schema: Any, wanted: Any = None) -> dict[str, Any]:  # noqa: ANN401 - fastavro's own form
    """One record without its frame, as fastavro reads it.

    Args:
        body: The record.
        schema: The writer's schema.
        wanted: The same with only the fields that are wanted; the others are passed without being built.

    Raises:
        InvalidRecordError: The bytes are not exactly one record of the schema.
    """
    stream = io.BytesIO(body)
    try:
        found = fastavro.schemaless_reader(stream, schema, wanted)
    except EOFError:
        raise InvalidRecordError(Reason.TRUNCATED, "the value ends before its record does") from None
    except UnicodeDecodeError:
        raise InvalidRecordError(Reason.INVALID_UTF8, "a text of the record is not UTF-8") from None
    except BROKEN as error:
        raise InvalidRecordError(Reason.MALFORMED, f"no record of the schema: {type(error).__name__} {error}") from None
    if stream.tell() < len(body):
        raise InvalidRecordError(Reason.MALFORMED, f"{len(body) - stream.tell()} bytes follow the record")
    if not isinstance(found, dict):
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "the schema is not that of a record")
    return found


def read_framed(value: bytes, schemas: SchemaSource) -> dict[str, Any]:
    """One framed record. Parses the schema anew: for single records, not for streams of them.

    Raises:
        InvalidRecordError: The value is no framed record, or its schema is unknown.
        TransientError: The schema registry cannot be reached.
    """
    found = schema_id(value)
    text = schemas.schema(found)
    if text is None:
        raise unknown_schema(found)
    return read_record(value[HEADER_BYTES:], parse_schema(text))


def unknown_schema(found: int) -> InvalidRecordError:
    """The refusal of a record whose schema nobody knows."""
    return InvalidRecordError(Reason.UNKNOWN_SCHEMA, f"no schema has the id {found}")
