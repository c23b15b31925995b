"""Inference requests and answers of the Open Inference Protocol over HTTP: JSON, and tensors as bytes behind it.

https://github.com/kserve/open-inference-protocol and its binary tensor data extension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from types import GenericAlias
from typing import Any, Final

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.codec.nesting import deepest
from millrace.core.errors import RequestError
from millrace_gateway.logic.asking import Answer, Ask, priority_of, text_of, timeout_of
from millrace_gateway.logic.tensor_bytes import from_bytes, to_bytes
from millrace_gateway.logic.tensors import Datatype, Tensor, check_shape, parse_datatype

HEADER_LENGTH: Final = "inference-header-content-length"
"""Length of the JSON in front of tensors that come as bytes."""
OCTETS: Final = "application/octet-stream"
"""What a body is that holds tensors as bytes."""

_SCALARS: Final[Mapping[Datatype, type]] = {
    Datatype.FP32: float,
    Datatype.FP64: float,
    Datatype.INT32: int,
    Datatype.INT64: int,
    Datatype.BOOL: bool,
    Datatype.BYTES: str,
}
_MAX_DIMENSIONS: Final = 16
_NO_DATA: Final = msgspec.Raw(b"")


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _NO_DATA
    parameters: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


_decode: Final = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class TensorLimits:
    """Bounds of one request.

    Attributes:
        elements: Most elements of one tensor.
        depth: Deepest nesting of its JSON.
    """

    elements: int
    depth: int


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is to be written.

    Attributes:
        binary: Whether outputs come as bytes where `by_name` does not say.
        by_name: The same of single outputs.
    """

    binary: bool = False
    by_name: Mapping[str, bool] | None = None

    def is_binary(self, name: str) -> bool:
        """Whether this output comes as bytes."""
        return (self.by_name or {}).get(name, self.binary)


def read_ask(
    body: bytes, *, header_length: str | None, model: str, version: str, limits: TensorLimits
) -> tuple[Ask, Form]:
    """Read a request.

    Args:
        body: All of it.
        header_length: The header `Inference-Header-Content-Length`, where there is one.
        model: From the path.
        version: From the path.
        limits: Checked before anything of the claimed size is allocated.

    Raises:
        RequestError: It is no such request; says where.
        TooLargeError: A tensor is beyond the bound.
    """
    head, tail = _split(body, header_length)
    request = _parse(head, limits.depth)
    parameters = request.parameters or {}
    wanted = request.outputs or []
    key = parameters.get("key")
    ask = Ask(
        model,
        version,
        _tensors(request.inputs, tail, limits.elements),
        id=text_of(request.id, name="id"),
        key=None if key is None else text_of(key, name="the parameter key"),
        outputs=[output.name for output in wanted],
        timeout=timeout_of(parameters.get("timeout")),
        priority=priority_of(parameters.get("priority")),
    )
    said = {output.name: (output.parameters or {}).get("binary_data") for output in wanted}
    by_name = {name: _flag(value) for name, value in said.items() if value is not None}
    return ask, Form(_flag(parameters.get("binary_data_output", False)), by_name)


def write_answer(answer: Answer, form: Form) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it."""
    outputs, tail = [], []
    for tensor in answer.tensors:
        described: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype.value,
            "shape": tensor.data.shape,
        }
        if form.is_binary(tensor.name):
            content = to_bytes(tensor)
            described["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        elif tensor.datatype is Datatype.BYTES:
            described["data"] = tensor.data.ravel().tolist()
        else:
            described["data"] = np.ascontiguousarray(tensor.data).ravel()
        outputs.append(described)
    document = {"model_name": answer.model, "model_version": answer.version, "id": answer.id, "outputs": outputs}
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head + b"".join(tail), len(head)) if tail else (head, None)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isascii() or not header_length.isdecimal() or int(header_length[:10]) > len(body):
        raise RequestError(
            f"Inference-Header-Content-Length {header_length[:16]!r} is no length within {len(body)} bytes",
            remedy="send the length of the JSON in bytes",
        )
    return body[: int(header_length)], memoryview(body)[int(header_length) :]


def _parse(head: bytes, depth: int) -> _Body:
    # Few brackets cannot nest deeply; only a suspect is looked at closely.
    if head.count(b"[") + head.count(b"{") > depth and deepest(head) > depth:
        raise RequestError(f"the JSON is nested deeper than {depth} levels", remedy="send flat data")
    try:
        return _decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is no inference request: {str(error)[:200]}", remedy="see /docs") from None


def _tensors(inputs: Sequence[_Input], tail: memoryview, elements: int) -> list[Tensor]:
    tensors = []
    start = 0
    for spec in inputs:
        name = spec.name[:64]
        datatype = parse_datatype(spec.datatype, name=name)
        shape = check_shape(spec.shape, name=name, elements=elements)
        size = (spec.parameters or {}).get("binary_data_size")
        if size is None:
            tensors.append(Tensor(spec.name, datatype, _from_json(spec.data, datatype, shape, name=name)))
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail) - start:
            raise RequestError(
                f"tensor {name!r} has {size!r} of {len(tail) - start} bytes that are left"[:200],
                remedy="send its bytes after the JSON, and Inference-Header-Content-Length",
            )
        data = from_bytes(tail[start : start + size], datatype, shape, name=name)
        tensors.append(Tensor(spec.name, datatype, data))
        start += size
    if start != len(tail):
        raise RequestError(f"{len(tail) - start} bytes follow the last tensor", remedy="say the size of every tensor")
    return tensors


def _from_json(raw: msgspec.Raw, datatype: Datatype, shape: tuple[int, ...], *, name: str) -> NDArray[np.generic]:
    text = bytes(raw).strip()
    if not text.startswith(b"["):
        raise RequestError(f"tensor {name!r} has no data", remedy="send an array, or bytes with binary_data_size")
    is_nested = text[1:16].lstrip().startswith(b"[")
    depth = len(shape) if is_nested else 1
    if depth > _MAX_DIMENSIONS:
        raise RequestError(f"tensor {name!r} has {depth} dimensions", remedy=f"at most {_MAX_DIMENSIONS}")
    try:
        values = _decoder(datatype, depth, has_null=datatype.numpy.kind == "f" and b"null" in text).decode(text)
        with np.errstate(over="ignore"):
            data = np.array(values, datatype.numpy)
    except (msgspec.DecodeError, ValueError, OverflowError, TypeError) as error:
        raise RequestError(
            f"the data of tensor {name!r} is not {datatype} of shape {list(shape)}: {str(error)[:120]}",
            remedy="send numbers or texts of that type, flat or nested as the shape",
        ) from None
    if data.shape != (shape if is_nested else (prod(shape),)):
        raise RequestError(
            f"tensor {name!r} has {data.size} elements in shape {list(data.shape)} and declares {list(shape)}",
            remedy="send flat data, or nested as the shape",
        )
    return data.reshape(shape)


@lru_cache(maxsize=256)
def _decoder(datatype: Datatype, depth: int, *, has_null: bool) -> msgspec.json.Decoder[Any]:
    scalar: Any = _SCALARS[datatype]
    leaf = scalar | None if has_null else scalar
    return msgspec.json.Decoder(reduce(lambda kind, _: GenericAlias(list, (kind,)), range(depth), leaf))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise RequestError("the parameter binary_data is not true or false", remedy="send true or false")
    return value
