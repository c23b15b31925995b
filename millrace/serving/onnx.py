"""The runtime `onnx`: ONNX Runtime on CPU, CUDA or TensorRT.

Answers do not depend on the batch: one thread per inference by default, deterministic kernels, and a single row is
scored as two, because the linear-algebra kernels take another path for one row and differ in the last bits (measured
with ONNX Runtime 1.32: 462 of 1,000 rows of a logistic regression; from two rows on all sizes agree).
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.outputs import Outputs, read_outputs
from millrace.core.signature import Signature
from millrace.process.deployment import Precision, Provider
from millrace.serving.execution import PROVIDER_NAMES, Execution
from millrace.serving.half import half_precision
from millrace.serving.staging import CudaHostMemory, Staging

_INFER_ERRORS: Final = (errors.Fail, errors.InvalidArgument, errors.RuntimeException, errors.NotImplemented)
_LOAD_ERRORS: Final = (*_INFER_ERRORS, errors.EPFail, errors.InvalidGraph, errors.InvalidProtobuf)
_ERRORS_ONLY: Final = 3


class OnnxRuntime:
    """An ONNX model in a session. `infer` may be called from several threads at once.

    On an accelerator the session has a stream of its own, and batches are staged (`staging`).

    Args:
        model: A single-file ONNX model that passed admission.
        signature: What it accepts and answers.
        execution: What executes it, and how; one thread of the CPU by default.

    Raises:
        RequestError: A provider is not available here, or the model cannot be loaded.
    """

    def __init__(self, model: Path | bytes, signature: Signature, execution: Execution | None = None) -> None:
        execution = execution or Execution()
        self._signature = signature
        self._session: Any = _open(model, signature, execution)
        self._device: Final = execution.device
        self._staging: Final = Staging(CudaHostMemory()) if execution.is_accelerated else None
        self._inputs: Final = tuple(tensor.name for tensor in signature.inputs)
        wanted = (signature.score_output, signature.label_output)
        self._outputs: Final = [name for name in wanted if name is not None]

    @property
    def device(self) -> str:
        """See `Execution.device`."""
        return self._device

    def infer(self, columns: FeatureColumns) -> Outputs:
        """See `millrace.serving.runtime.Runtime.infer`."""
        rows = len(columns)
        if self._staging is not None:
            with self._staging.padded(columns) as tensors:
                outputs = self._run(tensors)
        else:
            outputs = self._run(columns.tensors if rows > 1 else tuple(map(_twice, columns.tensors)))
        return outputs if len(outputs) == rows else outputs.take(slice(0, rows))

    def close(self) -> None:
        """See `millrace.serving.runtime.Runtime.close`."""
        self._session = None
        if self._staging is not None:
            self._staging.close()

    def _run(self, tensors: tuple[NDArray[np.generic], ...]) -> Outputs:
        try:
            found = self._session.run(self._outputs, dict(zip(self._inputs, tensors, strict=True)))
        except _INFER_ERRORS as error:
            raise InvalidRecordError(Reason.MODEL_ERROR, _one_line(error)) from None
        return read_outputs(self._signature, dict(zip(self._outputs, found, strict=True)), len(tensors[0]))


def available_providers() -> tuple[Provider, ...]:
    """The providers that the installed ONNX Runtime was built with."""
    built = set(onnxruntime.get_available_providers())
    return tuple(provider for provider, name in PROVIDER_NAMES.items() if name in built)


def _open(model: Path | bytes, signature: Signature, execution: Execution) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    available = available_providers()
    missing = [provider.value for provider in execution.providers if provider not in available]
    if missing:
        raise RequestError(
            f"ONNX Runtime {onnxruntime.__version__} has no provider {', '.join(missing)}, only {', '.join(available)}",
            remedy="install millrace[gpu] on a machine with a GPU, or name another provider under runtime.providers",
        )
    if execution.is_accelerated:
        # CUDA's libraries may come as Python packages, which only this call finds.
        onnxruntime.preload_dlls()
    if execution.precision is Precision.FLOAT16 and execution.providers[0] is Provider.CUDA:
        model = half_precision(model)  # TensorRT does so by itself
    wanted = execution.session_providers(signature)
    try:
        session = onnxruntime.InferenceSession(model, _options(execution.threads), providers=wanted)
    except _LOAD_ERRORS as error:
        raise RequestError(
            f"ONNX Runtime cannot load the model: {_one_line(error)}", remedy="export the model again"
        ) from None
    # Without its libraries a provider is left out with no more than a warning.
    if session.get_providers()[0] != wanted[0][0]:
        raise RequestError(
            f"ONNX Runtime could not start {execution.providers[0]} and fell back to {session.get_providers()[0]}",
            remedy="run `millrace doctor` to see which libraries are missing",
        )
    return session


def _options(threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads sleep: the cores belong to other scorers while this one waits for records.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _twice(tensor: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.concatenate((tensor, tensor))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
