"""The same model on an accelerator: every way in which a deployment can ask for it."""

import ctypes
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from millrace.core.columns import FeatureColumns
from millrace.process.deployment import Precision, Provider
from millrace.serving.execution import Execution
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.onnx import OnnxRuntime, available_providers
from millrace.serving.staging import CudaHostMemory
from millrace.serving.trial import compare_batch_sizes
from millrace.testing.models import linear_bundle, linear_model, linear_signature

if Provider.CUDA not in available_providers():
    pytest.skip("ONNX Runtime was built without CUDA", allow_module_level=True)

pytestmark = pytest.mark.gpu

NAMES = tuple(f"f{number}" for number in range(30))
SIGNATURE = linear_signature(NAMES)
MODEL = linear_model(np.linspace(-1, 1, 30, dtype=np.float32)).SerializeToString()
TOLERANCES = {Precision.FLOAT32: 1e-5, Precision.FLOAT16: 5e-3}


def rows(count: int) -> FeatureColumns:
    return FeatureColumns(SIGNATURE, (np.random.default_rng(1).normal(size=(count, 30)).astype(np.float32),))


@pytest.fixture(params=[*itertools.product((Provider.CUDA, Provider.TENSORRT), Precision)], ids="-".join)
def execution(request: pytest.FixtureRequest, tmp_path: Path) -> Execution:
    provider, precision = request.param
    if provider is Provider.TENSORRT:
        try:
            ctypes.CDLL("libnvinfer.so.10")
        except OSError:
            pytest.skip("TensorRT's library is not installed")
    return Execution((provider,), precision=precision, largest=1000, engines=tmp_path / "engines")


@pytest.fixture
def runtime(execution: Execution) -> Iterator[OnnxRuntime]:
    runtime = OnnxRuntime(MODEL, SIGNATURE, execution)
    yield runtime
    runtime.close()


def test_an_accelerator_answers_as_the_processor(runtime: OnnxRuntime, execution: Execution) -> None:
    assert runtime.device == execution.device
    for count in (1, 3, 1000):
        expected = OnnxRuntime(MODEL, SIGNATURE).infer(rows(count))
        np.testing.assert_allclose(
            runtime.infer(rows(count)).scores, expected.scores, atol=TOLERANCES[execution.precision]
        )
    assert compare_batch_sizes(runtime, rows(1000)).rows == 1000


def test_threads_that_score_at_once_get_their_own_answers(runtime: OnnxRuntime) -> None:
    batches = [rows(count) for count in (1, 5, 64, 500) * 8]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(runtime.infer, batches))
    assert [answers.scores.tobytes() for answers in found] == [runtime.infer(b).scores.tobytes() for b in batches]


def test_a_loaded_model_has_met_every_size(execution: Execution, tmp_path: Path) -> None:
    model: LoadedModel = load(linear_bundle(tmp_path / "bundle"), options=LoadOptions(execution))
    sample = model.bundle.sample
    assert sample is not None
    assert len(model.engine.infer(sample).outputs) == len(sample)
    model.close()


def test_memory_is_page_locked_and_released() -> None:
    OnnxRuntime(MODEL, SIGNATURE, Execution((Provider.CUDA,))).close()  # loads CUDA's libraries
    memory, array = CudaHostMemory(), np.zeros(1 << 20, np.uint8)
    assert memory.lock(array)
    assert not memory.lock(array)  # it is locked already
    memory.unlock(array)
    assert memory.lock(array)
    memory.unlock(array)
