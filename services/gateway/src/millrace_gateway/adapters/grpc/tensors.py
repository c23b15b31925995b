"""Inference requests and answers of the Open Inference Protocol as gRPC messages."""

from collections.abc import Mapping
from datetime import timedelta
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace_gateway.adapters.grpc.generated.inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from millrace_gateway.logic.asking import Answer, Ask, priority_of, text_of, timeout_of
from millrace_gateway.logic.tensor_bytes import from_bytes, to_bytes
from millrace_gateway.logic.tensors import Datatype, Tensor, check_shape, parse_datatype

_CONTENTS: Final[Mapping[Datatype, str]] = {
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.BOOL: "bool_contents",
    Datatype.BYTES: "bytes_contents",
}


def read_ask(request: ModelInferRequest, *, elements: int, left: timedelta | None) -> Ask:
    """Read a request.

    Args:
        request: The message.
        elements: Most elements of one tensor, checked before any is allocated.
        left: Time until the call's own deadline; None where it has none.

    Raises:
        RequestError: It is no request that a model of millrace could answer; says where.
        TooLargeError: A tensor is beyond the bound.
    """
    parameters = {name: _value(each) for name, each in request.parameters.items()}
    key = parameters.get("key")
    timeouts = [each for each in (timeout_of(parameters.get("timeout")), left) if each is not None]
    return Ask(
        request.model_name,
        request.model_version,
        _tensors(request, elements),
        id=text_of(request.id, name="id"),
        key=None if key is None else text_of(key, name="the parameter key"),
        outputs=[output.name for output in request.outputs],
        timeout=min(timeouts, default=None),
        priority=priority_of(parameters.get("priority")),
    )


def write_answer(answer: Answer, *, asked: ModelInferRequest) -> ModelInferResponse:
    """The message of an answer: raw where the request was raw, as typed contents otherwise."""
    message = ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.id)
    for tensor in answer.tensors:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype.value, shape=tensor.data.shape)
        if asked.raw_input_contents:
            message.raw_output_contents.append(to_bytes(tensor))
        else:
            values = tensor.data.ravel().tolist()
            texts = list(map(str.encode, values)) if tensor.datatype is Datatype.BYTES else values
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(texts)
    return message


def _tensors(request: ModelInferRequest, elements: int) -> list[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(
            f"{len(request.inputs)} inputs have {len(raw)} raw contents", remedy="send all inputs raw, or none"
        )
    tensors = []
    for index, spec in enumerate(request.inputs):
        name = spec.name[:64]
        datatype = parse_datatype(spec.datatype, name=name)
        shape = check_shape(spec.shape, name=name, elements=elements)
        if raw:
            data = from_bytes(memoryview(raw[index]), datatype, shape, name=name)
        else:
            data = _from_contents(spec.contents, datatype, shape, name=name)
        tensors.append(Tensor(spec.name, datatype, data))
    return tensors


def _from_contents(
    contents: InferTensorContents, datatype: Datatype, shape: tuple[int, ...], *, name: str
) -> NDArray[np.generic]:
    values = getattr(contents, _CONTENTS[datatype])
    if len(values) != prod(shape):
        raise RequestError(
            f"tensor {name!r} has {len(values)} elements in {_CONTENTS[datatype]} and declares {list(shape)}",
            remedy=f"send {datatype} in {_CONTENTS[datatype]}",
        )
    try:
        elements = map(bytes.decode, values) if datatype is Datatype.BYTES else values
        return np.fromiter(elements, datatype.numpy, len(values)).reshape(shape)
    except UnicodeDecodeError:
        raise RequestError(f"a text of tensor {name!r} is not UTF-8", remedy="send UTF-8") from None


def _value(parameter: InferParameter) -> object:
    chosen = parameter.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(parameter, chosen)
