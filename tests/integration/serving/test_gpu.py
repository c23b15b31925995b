"""The same model on an accelerator."""

import numpy as np
import pytest

from millrace.core.columns import FeatureColumns
from millrace.process.deployment import Provider
from millrace.serving.onnx import OnnxRuntime, available_providers
from millrace.serving.trial import compare_batch_sizes
from millrace.testing.models import linear_model, linear_signature

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(Provider.CUDA not in available_providers(), reason="ONNX Runtime was built without CUDA"),
]

NAMES = tuple(f"f{number}" for number in range(30))
SIGNATURE = linear_signature(NAMES)


def test_an_accelerator_answers_as_the_processor() -> None:
    model = linear_model(np.linspace(-1, 1, 30, dtype=np.float32)).SerializeToString()
    rows = FeatureColumns(SIGNATURE, (np.random.default_rng(1).normal(size=(1000, 30)).astype(np.float32),))
    on_cpu = OnnxRuntime(model, SIGNATURE).infer(rows)
    cuda = OnnxRuntime(model, SIGNATURE, providers=[Provider.CUDA])
    on_cuda = cuda.infer(rows)
    assert cuda.device == "cuda"
    np.testing.assert_allclose(on_cuda.scores, on_cpu.scores, atol=1e-5)
    assert compare_batch_sizes(cuda, rows).rows == 1000
