"""Inference over HTTP, driven by tritonclient as it is, and by hand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from gateway_stage import GatewayStage
from numpy.typing import NDArray
from scorer_stream import MakeStream, Stream
from tritonclient.utils import InferenceServerException

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs
from millrace.process.settings import Settings
from millrace.serving.loading import load
from millrace.testing.broker import Broker
from millrace.testing.models import linear_signature
from millrace.testing.waiting import eventually

ROWS = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)


def body(rows: NDArray[Any] = ROWS, **more: object) -> dict[str, object]:
    tensor = {"name": "features", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
    return {"inputs": [tensor], **more}


def expected(s: Stream, rows: NDArray[Any] = ROWS, reference: str | None = None) -> Outputs:
    """What the model answers when it is asked alone."""
    with s.registry() as registry:
        entry, bundle = registry.open(reference or s.model)
    return load(bundle, version=entry.version).engine.infer(FeatureColumns(linear_signature(), (rows,))).outputs


def scores(answer: httpx.Response) -> NDArray[np.float32]:
    assert answer.status_code == 200, answer.text
    tensor = answer.json()["outputs"][0]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


@pytest.mark.parametrize("is_binary", [False, True])
def test_tritonclient_asks_unmodified(stage: GatewayStage, stream: MakeStream, is_binary: bool) -> None:
    s = stream()
    with stage.running(s.deployment()), triton.InferenceServerClient(f"127.0.0.1:{stage.rest_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(s.model)
        metadata = client.get_model_metadata(s.model, "1")
        assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}]
        tensor = triton.InferInput("features", list(ROWS.shape), "FP32")
        tensor.set_data_from_numpy(ROWS, binary_data=is_binary)
        wanted = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("scores", "label")]
        result = client.infer(s.model, [tensor], outputs=wanted, request_id="r-1", timeout=5_000_000, priority=1)
        answered = result.as_numpy("scores")
        assert answered.dtype == np.float32
        assert answered.tobytes() == expected(s).scores.tobytes()
        labels = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("label")]
        assert labels == [("no", "yes")[i] for i in expected(s).scores.argmax(axis=1)]
        assert result.get_response()["id"] == "r-1"
        statistics = client.get_inference_statistics(s.model)["model_stats"][0]
        assert (statistics["inference_count"], statistics["execution_count"]) == (5, 1)
        assert client.get_model_config(s.model)["input"][0]["data_type"] == "TYPE_FP32"


def test_a_name_is_a_deployment_or_a_model_and_a_version_is_that_one(
    stage: GatewayStage, stream: MakeStream, tmp_path: Path
) -> None:
    s = stream()
    s.push(tmp_path / "second", weights=(2, 0, 1))
    with s.registry() as registry:
        registry.set_alias("challenger", f"{s.model}/2")
    with stage.running(s.deployment()) as client:
        for name in (s.name, s.model, f"{s.model}@champion"):
            assert (
                scores(client.post(f"/v2/models/{name}/infer", json=body())).tobytes() == expected(s).scores.tobytes()
            )
        second = expected(s, reference=f"{s.model}/2").scores
        for path in (f"{s.model}/versions/2", f"{s.model}@challenger"):
            assert scores(client.post(f"/v2/models/{path}/infer", json=body())).tobytes() == second.tobytes()


def test_a_followed_alias_takes_over_without_a_failure(stage: GatewayStage, stream: MakeStream, tmp_path: Path) -> None:
    s = stream()
    s.push(tmp_path / "second", weights=(2, 0, 1))
    with stage.running(s.deployment()) as client:
        assert client.post(f"/v2/models/{s.name}/infer", json=body()).json()["model_version"] == "1"
        with s.registry() as registry:
            registry.set_alias("champion", f"{s.model}/2")

        def has_taken_over() -> bool:
            answer = client.post(f"/v2/models/{s.name}/infer", json=body())
            assert answer.status_code == 200
            return bool(answer.json()["model_version"] == "2")

        eventually(has_taken_over, what="version 2")


def test_models_are_unloaded_and_loaded(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    with stage.running(s.deployment()), triton.InferenceServerClient(f"127.0.0.1:{stage.rest_port}") as client:
        entry = {"name": s.model, "version": "1", "state": "READY", "reason": ""}
        assert client.get_model_repository_index() == [entry]
        client.unload_model(s.model)
        assert not client.is_model_ready(s.model)
        assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE"
        client.load_model(s.model)
        assert client.is_model_ready(s.model)
        with pytest.raises(InferenceServerException, match="no model 'nothing'"):
            client.load_model("nothing")


def test_numbers_may_be_flat_or_nested(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    flat = body()
    flat["inputs"][0]["data"] = ROWS.ravel().tolist()  # type: ignore[index]
    with stage.running(s.deployment()) as client:
        answers = [scores(client.post(f"/v2/models/{s.name}/infer", json=each)) for each in (flat, body())]
        assert answers[0].tobytes() == answers[1].tobytes()


WRONG = {
    "no json": b"{",
    "no inputs": b"{}",
    "another input": json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}),
    "another type": json.dumps(
        {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "INT32", "data": [1, 2, 3]}]}
    ),
    "another shape": json.dumps(
        {"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    ),
    "too few": json.dumps({"inputs": [{"name": "features", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3]}]}),
    "no rows": json.dumps({"inputs": [{"name": "features", "shape": [0, 3], "datatype": "FP32", "data": []}]}),
    "ragged": json.dumps(
        {"inputs": [{"name": "features", "shape": [2, 3], "datatype": "FP32", "data": [[1, 2, 3], [4]]}]}
    ),
    "infinite": json.dumps(
        {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 1e39]}]}
    ),
    "null": json.dumps({"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, None]}]}),
    "unknown output": json.dumps(body(outputs=[{"name": "nothing"}])),
    "timeout": json.dumps(body(parameters={"timeout": "soon"})),
    "priority": json.dumps(body(parameters={"priority": -1})),
    "bytes without any": json.dumps(
        {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}
    ),
    "deep": b'{"inputs":' + b"[" * 100_000,
}


@pytest.fixture(scope="module")
def asked(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """A gateway for the refusals of this module, and the path of its model."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    s = Stream(broker, settings, f"g-{np.random.default_rng().integers(1 << 40):x}")
    s.push(tmp_path_factory.mktemp("bundle") / "bundle")
    stage = GatewayStage(broker, settings)
    limits = {"body_bytes": 200_000, "elements": 10_000}
    with stage.running(s.deployment(), options=stage.options(limits=limits)) as client:
        yield client, f"/v2/models/{s.name}/infer"


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_what_the_model_does_not_take_is_refused_in_one_shape(
    asked: tuple[httpx.Client, str], content: str | bytes
) -> None:
    client, path = asked
    answer = client.post(path, content=content)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error", "remedy", "code"}
    assert answer.json()["code"] == "invalid"


def test_each_bound_has_its_status(asked: tuple[httpx.Client, str]) -> None:
    client, path = asked
    assert client.post("/v2/models/none/infer", json=body()).status_code == 404
    assert client.post(path.replace("/infer", "/versions/9/infer"), json=body()).status_code == 404
    assert client.post(path.replace("/infer", "/versions/x/infer"), json=body()).status_code == 404
    assert client.post(path, content=b"x" * 200_001).status_code == 413
    assert client.post(path, content=iter([b"x" * 100_000] * 3)).status_code == 413
    wide = {"inputs": [{"name": "features", "shape": [10**12, 3], "datatype": "FP32", "data": [1]}]}
    assert client.post(path, json=wide).status_code == 413
    assert client.build_request("POST", path).headers["content-length"] == "0"
    late = client.post(path, json=body(parameters={"timeout": 1}))
    assert (late.status_code, late.json()["code"]) == (504, "late")
