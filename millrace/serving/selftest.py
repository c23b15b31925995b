"""Whether this machine computes right: a product of matrices and an inference, by each provider, have known answers."""

from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from millrace.core.errors import FatalError

_SIZE: Final = 192
_INPUT, _OUTPUT = "x", "y"
_ERRORS: Final = (
    errors.EPFail, errors.Fail, errors.InvalidArgument, errors.NotImplemented, errors.RuntimeException, ValueError,
)  # fmt: skip


def product_error() -> float:
    """Largest error of NumPy's float32 product of matrices, relative to the largest number of the exact one."""
    left, right = _matrices()
    return _error(left @ right, left, right)


def inference_error(provider: str) -> float:
    """The same of a model that multiplies by a matrix, run by an ONNX Runtime provider; blocks until it is loaded.

    Raises:
        FatalError: The provider cannot be loaded, or fails; says what ONNX Runtime says.
    """
    left, right = _matrices()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # What goes wrong is raised.
    if provider.startswith("CUDA"):
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(_model(right), options, providers=[provider])
        answer = session.run([_OUTPUT], {_INPUT: left})[0]
    except _ERRORS as error:
        raise FatalError(f"{provider} does not work: {str(error).strip().splitlines()[0]}") from error
    if (found := session.get_providers()[0]) != provider:
        raise FatalError(f"{provider} cannot be loaded, and {found} took its place")
    return _error(np.asarray(answer), left, right)


def _matrices() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(7)
    left, right = random.normal(size=(2, _SIZE, _SIZE)).astype(np.float32)
    return left, right


def _error(found: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    exact = left.astype(np.float64) @ right.astype(np.float64)
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def _model(matrix: NDArray[np.float32]) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", [_INPUT, "matrix"], [_OUTPUT])],
        "selftest",
        [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [_SIZE, _SIZE])],
        [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [_SIZE, _SIZE])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized
