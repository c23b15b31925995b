"""The OpenAPI description of inference, whose handler reads its body itself."""

from typing import Any, Final

from millrace_gateway.adapters.rest.refusals import Code
from millrace_gateway.logic.asking import MAX_ID_CHARACTERS
from millrace_gateway.logic.tensors import Datatype

_PARAMETERS: Final = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_DATATYPE: Final = {"type": "string", "enum": list(Datatype)}
_SHAPE: Final = {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": 1}
_DATA: Final = {"type": "array", "items": {"type": ["number", "string", "boolean", "array", "null"]}}
_NAME: Final = {"type": "string"}

SCHEMAS: Final[dict[str, Any]] = {
    "Refusal": {
        "type": "object",
        "required": ["error", "remedy", "code"],
        "properties": {
            "error": {"type": "string"},
            "remedy": {"type": "string"},
            "code": {"type": "string", "enum": list(Code)},
        },
    },
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": MAX_ID_CHARACTERS, "description": "The event's own id."},
            "parameters": {
                "type": "object",
                "properties": {
                    "timeout": {"type": "integer", "minimum": 0, "description": "Longest time, in microseconds."},
                    "priority": {"type": "integer", "minimum": 0, "description": "1 is the highest, 0 the lowest."},
                    "key": {"type": "string", "description": "Key of the request's and the prediction's records."},
                    "binary_data_output": {"type": "boolean"},
                },
            },
            "inputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype"],
                    "properties": {
                        "name": _NAME,
                        "shape": _SHAPE,
                        "datatype": _DATATYPE,
                        "data": _DATA,
                        "parameters": _PARAMETERS,
                    },
                },
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": _NAME, "parameters": _PARAMETERS},
                },
            },
        },
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "id", "outputs"],
        "properties": {
            "model_name": _NAME,
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype"],
                    "properties": {"name": _NAME, "shape": _SHAPE, "datatype": _DATATYPE, "data": _DATA},
                },
            },
        },
    },
}

_REFUSALS: Final = {
    "400": "The request is not what the model takes.",
    "404": "There is no such model.",
    "408": "The body did not arrive in time.",
    "411": "The body has no length.",
    "413": "The request is beyond a bound.",
    "429": "This client asks too often.",
    "503": "No room, or no broker where an answer must be logged; `Retry-After` says when to come back.",
    "504": "The deadline passed.",
}


def _reference(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


REFUSED: Final[dict[str, Any]] = {"description": "The request is refused.", "content": _reference("Refusal")}
"""How any refusal looks."""


def refusals() -> dict[str, Any]:
    """How every refusal looks, by status."""
    return {status: {"description": meaning, "content": _reference("Refusal")} for status, meaning in _REFUSALS.items()}


def _infer(*names: str) -> dict[str, Any]:
    octets = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "post": {
            "tags": ["models"],
            "summary": "Infer",
            "operationId": "_".join(("infer", *names)),
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in names
            ],
            "requestBody": {"required": True, "content": _reference("InferenceRequest")},
            "responses": {
                "200": {"description": "The answer.", "content": _reference("InferenceResponse") | octets},
                **refusals(),
            },
        }
    }


PATHS: Final[dict[str, Any]] = {
    "/v2/models/{model}/infer": _infer("model"),
    "/v2/models/{model}/versions/{version}/infer": _infer("model", "version"),
}
