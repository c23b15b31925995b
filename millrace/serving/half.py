"""A model that computes in half precision between inputs and outputs of single precision."""

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from millrace.core.errors import RequestError


def half_precision(model: Path | bytes) -> bytes:
    """The model with weights and operators of float16. Inputs, outputs, and operators that have no such form stay.

    Raises:
        RequestError: It is no model, or cannot be converted.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 -- only where it is asked for

    convert: Any = convert_float_to_float16  # untyped
    try:
        whole = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        halved: onnx.ModelProto = convert(whole, keep_io_types=True)
    except (ValueError, TypeError, KeyError, DecodeError, onnx.shape_inference.InferenceError) as error:
        raise RequestError(
            f"the model cannot be converted to half precision: {error}", remedy="set runtime.precision: float32"
        ) from None
    return halved.SerializeToString()
