"""The schema of a stream of features, derived from the signature of the model that scores it.

A document that validates against the JSON Schema is one that the JSON decoder accepts, and the other way round, but for
what JSON Schema cannot say: encodings, sizes, depths and literals such as NaN.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from millrace.core.errors import RequestError
from millrace.core.signature import DType, ExtraFields, Feature, NotFinite, Signature

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_AVRO_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_AVRO_TYPES: Final[Mapping[DType, str]] = {
    DType.FLOAT32: "float",
    DType.FLOAT64: "double",
    DType.INT32: "int",
    DType.INT64: "long",
    DType.BOOL: "boolean",
    DType.STRING: "string",
}


def json_schema(signature: Signature, *, title: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of the stream's records."""
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": {feature.name: _json_type(feature, signature.not_finite) for feature in signature.features},
        "required": [feature.name for feature in signature.features if not feature.nullable],
        "additionalProperties": signature.extra_fields is ExtraFields.IGNORE,
    }


def avro_schema(signature: Signature, *, name: str) -> dict[str, Any]:
    """Avro schema of the stream's records, as a writer should register it.

    Raises:
        RequestError: A feature's name cannot be the name of an Avro field.
    """
    for feature in signature.features:
        if feature.name[:1].isdigit() or not _AVRO_NAME.issuperset(feature.name):
            raise RequestError(
                f"feature {feature.name!r} cannot be a field of an Avro record",
                remedy="rename it to letters, digits and underscores, or send JSON or Arrow",
            )
    return {"type": "record", "name": name, "fields": list(map(_avro_field, signature.features))}


def _json_type(feature: Feature, not_finite: NotFinite) -> dict[str, Any]:
    element = _json_element(feature.dtype, not_finite)
    if feature.shape:
        nested = element
        for size in reversed(feature.shape):
            nested = {"type": "array", "items": nested, "minItems": size, "maxItems": size}
        flat = {"type": "array", "items": element, "minItems": feature.elements, "maxItems": feature.elements}
        element = nested if len(feature.shape) == 1 else {"anyOf": [flat, nested]}
    return {"anyOf": [element, {"type": "null"}]} if feature.nullable else element


def _json_element(dtype: DType, not_finite: NotFinite) -> dict[str, Any]:
    match dtype:
        case DType.BOOL:
            return {"type": "boolean"}
        case DType.STRING:
            return {"type": "string"}
        case DType.INT32 | DType.INT64:
            bounds = np.iinfo(dtype.value)
            return {"type": "integer", "minimum": int(bounds.min), "maximum": int(bounds.max)}
        case DType.FLOAT32 | DType.FLOAT64 if not_finite is NotFinite.REJECT:
            largest = float(np.finfo(dtype.value).max)
            return {"type": "number", "minimum": -largest, "maximum": largest}
        case _:
            return {"type": "number"}


def _avro_field(feature: Feature) -> dict[str, Any]:
    element: Any = _AVRO_TYPES[feature.dtype]
    if feature.shape:
        element = {"type": "array", "items": element}
    if feature.nullable:
        return {"name": feature.name, "type": ["null", element], "default": None}
    return {"name": feature.name, "type": element}
