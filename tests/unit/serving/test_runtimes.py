from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import FatalError, InvalidRecordError, Reason, RequestError
from millrace.core.signature import NotFinite
from millrace.process.deployment import Provider
from millrace.serving.bundle import open_bundle
from millrace.serving.execution import Execution
from millrace.serving.loading import load
from millrace.serving.onnx import OnnxRuntime, available_providers
from millrace.serving.python import Answer, PythonRuntime, import_function
from millrace.serving.trial import compare_batch_sizes, rows_from_profile
from millrace.testing.models import linear_bundle, linear_model, linear_signature

NAMES = tuple(f"f{number}" for number in range(30))
SIGNATURE = linear_signature(NAMES)
WEIGHTS = np.linspace(-1, 1, 30, dtype=np.float32)


def rows(count: int) -> FeatureColumns:
    values = np.random.default_rng(seed=1).normal(size=(count, 30)).astype(np.float32)
    return FeatureColumns(SIGNATURE, (values,))


@pytest.fixture(scope="module")
def runtime() -> OnnxRuntime:
    return OnnxRuntime(linear_model(WEIGHTS).SerializeToString(), SIGNATURE)


def test_scores_are_those_of_the_model(runtime: OnnxRuntime) -> None:
    columns = rows(100)
    expected = 1 / (1 + np.exp(-(columns.tensors[0].astype(np.float64) @ WEIGHTS)))
    outputs = runtime.infer(columns)
    np.testing.assert_allclose(outputs.scores[:, 1], expected, atol=1e-6)
    assert outputs.labels is not None
    assert np.array_equal(outputs.labels, (expected > 0.5).astype(int))


def test_answers_do_not_depend_on_the_batch(runtime: OnnxRuntime) -> None:
    found = compare_batch_sizes(runtime, rows(1000))
    assert found.holds
    assert found.batch_sizes == (1, 2, 7, 64, 1000)


def test_a_model_that_looks_at_its_batch_is_found_out() -> None:
    def share_of_largest(features: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        values = np.abs(features["f0"].astype(np.float64))
        share: NDArray[np.float64] = values / values.max()
        return share

    found = compare_batch_sizes(PythonRuntime(share_of_largest, SIGNATURE), rows(1000))
    assert not found.holds
    assert found.differing == (1, 2, 7, 64)


def test_a_missing_provider_is_named_with_those_that_exist() -> None:
    assert Provider.CPU in available_providers()
    missing = next(provider for provider in (Provider.TENSORRT, Provider.CUDA) if provider not in available_providers())
    with pytest.raises(RequestError, match=rf"has no provider {missing}, only cpu.*install millrace\[gpu\]"):
        OnnxRuntime(b"", SIGNATURE, Execution((missing,)))


def test_what_cannot_be_loaded_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot load the model"):
        OnnxRuntime(b"nonsense", SIGNATURE)


def test_a_score_that_is_not_finite_is_the_record_s_fault() -> None:
    signature = linear_signature(NAMES, not_finite=NotFinite.ALLOW)
    runtime = OnnxRuntime(linear_model(WEIGHTS).SerializeToString(), signature)
    values = rows(3).tensors[0].copy()
    values[1, 4] = np.nan
    with pytest.raises(InvalidRecordError, match="row 1 of 3") as caught:
        runtime.infer(FeatureColumns(signature, (values,)))
    assert caught.value.reason is Reason.MODEL_ERROR


def test_rows_of_another_shape_are_the_record_s_fault(runtime: OnnxRuntime) -> None:
    with pytest.raises(InvalidRecordError, match="invalid dimensions"):
        runtime.infer(FeatureColumns(SIGNATURE, (np.zeros((4, 7), np.float32),)))


@pytest.mark.parametrize("answer", [np.array([0.25, 0.75]), {"scores": np.array([0.25, 0.75])}])
def test_a_function_may_answer_with_an_array_or_by_name(answer: Answer) -> None:
    outputs = PythonRuntime(lambda _: answer, SIGNATURE).infer(rows(2))
    assert outputs.scores[:, 1].tolist() == [0.25, 0.75]


def test_whatever_a_function_raises_is_the_record_s_fault() -> None:
    def fail(_: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        raise ZeroDivisionError("oh")

    with pytest.raises(InvalidRecordError, match="ZeroDivisionError: oh") as caught:
        PythonRuntime(fail, SIGNATURE).infer(rows(2))
    assert caught.value.reason is Reason.MODEL_ERROR


def test_a_function_of_another_shape_stops_the_scorer() -> None:
    with pytest.raises(FatalError, match="instead of"):
        PythonRuntime(lambda _: np.zeros(5), SIGNATURE).infer(rows(2))


@pytest.mark.parametrize("name", ["no_such_module:f", "json:no_such_function", "json:decoder.nothing"])
def test_a_function_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(RequestError, match=f"cannot import the model's function '{name}'"):
        import_function(name)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(RequestError, match="is no function"):
        import_function("sys:version")


def test_a_loaded_model_is_ready(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "bundle", name="loans")
    model = load(bundle, version=3)
    assert (model.name, model.version, model.digest, model.runtime.device) == ("loans", 3, bundle.digest, "cpu")
    assert bundle.sample is not None
    inference = model.engine.infer(bundle.sample)
    assert len(inference.outputs) == len(inference.bins) == 64
    assert len(inference.bins[0]) == 3
    model.close()
    model.close()


def test_rows_can_be_made_of_a_profile(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "bundle")
    made = rows_from_profile(bundle.signature, bundle.profile, 20)
    assert len(made) == 20
    (bundle.directory / "sample.json").unlink()
    load(open_bundle(bundle.directory)).close()
