"""What is asked of an accelerator, and how batches come to it; without one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, load_from_string

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.process.deployment import Deployment, Precision, Provider
from millrace.serving.execution import Execution, padded_size
from millrace.serving.half import half_precision
from millrace.serving.onnx import OnnxRuntime
from millrace.serving.staging import CudaHostMemory, Staging
from millrace.testing.models import linear_model, linear_signature

SIGNATURE = linear_signature(("a", "b", "c"))
WEIGHTS = np.array([0.5, -1.0, 0.25], np.float32)
DOCUMENT = {"deployment": "d", "source": {"topic": "t.features"}, "model": "m@champion"}


def rows(count: int) -> FeatureColumns:
    values = np.random.default_rng(seed=count).normal(size=(count, 3)).astype(np.float32)
    return FeatureColumns(SIGNATURE, (values,))


def of_shape(*shape: int, dtype: DType = DType.FLOAT32) -> Signature:
    feature = Feature("image", dtype, shape=shape)
    return Signature((feature,), (ModelInput("x", ("image",)),), Task.REGRESSION, score_output="y")


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (1000, 1024), (1024, 1024)])
def test_batches_are_filled_up_to_powers_of_two(count: int, size: int) -> None:
    assert padded_size(count, SIGNATURE) == size


def test_what_is_large_or_no_numbers_is_not_filled_up() -> None:
    assert padded_size(400, of_shape(3, 224, 224)) is None
    assert padded_size(400, of_shape(28, 28)) == 512
    assert padded_size(4, of_shape(dtype=DType.STRING)) is None


def test_an_accelerator_is_warmed_up_for_every_size_that_it_can_meet() -> None:
    assert Execution().warm_sizes(SIGNATURE, 2) == (1, 2)
    assert Execution((Provider.CUDA,), largest=1000).warm_sizes(SIGNATURE, 2) == (
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        512,
        1024,
    )
    assert Execution((Provider.CUDA,), largest=1).warm_sizes(SIGNATURE, 2) == (2,)


def test_tensorrt_builds_one_engine_for_all_sizes_and_keeps_it() -> None:
    execution = Execution((Provider.TENSORRT,), precision=Precision.FLOAT16, largest=1000, engines=Path("engines"))
    (tensorrt, options), (cuda, _), (cpu, _) = execution.session_providers(of_shape(28, 28))
    assert (tensorrt, cuda, cpu) == ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_engine_cache_path"] == "engines"
    assert [options[f"trt_profile_{bound}_shapes"] for bound in ("min", "opt", "max")] == [
        "x:2x28x28",
        "x:1024x28x28",
        "x:1024x28x28",
    ]
    assert execution.device == "tensorrt-float16"


def test_a_deployment_declares_its_execution() -> None:
    document = {**DOCUMENT, "runtime": {"providers": ["cuda", "cpu"], "precision": "float16", "threads": 2}}
    execution = Execution.of(Deployment.parse(document, subject="test"))
    assert execution == Execution((Provider.CUDA, Provider.CPU), 2, Precision.FLOAT16, 20_000)
    with pytest.raises(RequestError, match="float16 needs cuda or tensorrt"):
        Deployment.parse({**DOCUMENT, "runtime": {"precision": "float16"}}, subject="test")


class Recorded:
    """Memory that locks some arrays."""

    def __init__(self, *, locks: bool) -> None:
        self.locks = locks
        self.locked: list[int] = []

    def lock(self, array: NDArray[np.generic]) -> bool:
        if self.locks:
            self.locked.append(array.ctypes.data)
        return self.locks

    def unlock(self, array: NDArray[np.generic]) -> None:
        self.locked.remove(array.ctypes.data)


@pytest.mark.parametrize("locks", [True, False])
def test_a_batch_is_filled_up_with_its_last_row(locks: bool) -> None:
    memory = Recorded(locks=locks)
    staging = Staging(memory)
    seen: set[int] = set()
    for count in (5, 8, 7, 5):
        with staging.padded(rows(count)) as (tensor,):
            assert tensor[:count].tobytes() == rows(count).tensors[0].tobytes()
            assert (tensor[count:] == rows(count).tensors[0][-1]).all()
            assert len(tensor) == 8
            seen.add(tensor.ctypes.data)
    assert len(seen) == 1
    with staging.padded(rows(5)) as (one,), staging.padded(rows(5)) as (other,):
        assert one.ctypes.data != other.ctypes.data
    assert len(memory.locked) == 2 * locks
    staging.close()
    assert not memory.locked


def test_answers_for_filled_up_batches_are_those_of_the_rows() -> None:
    """The accelerator's way, on the CPU."""
    plain = OnnxRuntime(linear_model(WEIGHTS).SerializeToString(), SIGNATURE)
    staged = OnnxRuntime(linear_model(WEIGHTS).SerializeToString(), SIGNATURE)
    staged._staging = Staging(Recorded(locks=False))  # type: ignore[misc]  # otherwise it takes an accelerator
    for count in (1, 2, 3, 100):
        expected, found = plain.infer(rows(count)), staged.infer(rows(count))
        assert found.scores.tobytes() == expected.scores.tobytes()
        assert found.labels is not None
        assert expected.labels is not None
        assert np.array_equal(found.labels, expected.labels)
    staged.close()


def test_without_cuda_s_library_memory_stays_as_it_is() -> None:
    memory = CudaHostMemory(["libno-such-cudart.so.1"])
    array = np.zeros(4, np.float32)
    assert not memory.lock(array)
    memory.unlock(array)


def test_a_halved_model_answers_nearly_the_same_and_takes_the_same_inputs() -> None:
    model = linear_model(np.array([0.1, -1.3, 0.7], np.float32)).SerializeToString()
    halved = half_precision(model)
    assert _types(halved) != _types(model)
    expected = OnnxRuntime(model, SIGNATURE).infer(rows(500))
    found = OnnxRuntime(halved, SIGNATURE).infer(rows(500))
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-3)
    assert found.scores.tobytes() != expected.scores.tobytes()


def test_what_is_no_model_is_not_halved() -> None:
    with pytest.raises(RequestError, match="half precision"):
        half_precision(b"nonsense")


def _types(model: bytes) -> Sequence[int]:
    return [
        weight.data_type
        for weight in load_from_string(model).graph.initializer
        if weight.data_type in {TensorProto.FLOAT, TensorProto.FLOAT16}
    ]
