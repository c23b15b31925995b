"""Inference over gRPC, driven by tritonclient as it is."""

import queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from gateway_stage import GatewayStage
from scorer_stream import MakeStream, Stream
from tritonclient.utils import InferenceServerException

from millrace.core.columns import FeatureColumns
from millrace.serving.loading import load
from millrace.testing.models import linear_signature
from millrace_gateway.adapters.grpc.generated import inference_pb2 as messages

ROWS = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)


def inputs() -> list[triton.InferInput]:
    tensor = triton.InferInput("features", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS)
    return [tensor]


def expected(s: Stream) -> bytes:
    with s.registry() as registry:
        entry, bundle = registry.open(s.model)
    engine = load(bundle, version=entry.version).engine
    return engine.infer(FeatureColumns(linear_signature(), (ROWS,))).outputs.scores.tobytes()


def test_tritonclient_asks_unmodified(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    with stage.running(s.deployment()), triton.InferenceServerClient(stage.target) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(s.model)
        assert not client.is_model_ready("nothing")
        assert client.get_model_metadata(s.model).inputs[0].shape == [-1, 3]
        assert client.get_model_config(s.model).config.platform == "onnxruntime_onnx"
        result = client.infer(s.name, inputs(), request_id="r-1", client_timeout=10, timeout=5_000_000, priority=1)
        assert result.get_response().id == "r-1"
        assert result.as_numpy("scores").tobytes() == expected(s)
        assert set(result.as_numpy("label").tolist()) <= {b"no", b"yes"}
        assert client.get_inference_statistics(s.model).model_stats[0].inference_count == 5
        assert client.get_model_repository_index().models[0].state == "READY"
        client.unload_model(s.model)
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            client.infer(s.model, inputs())
        client.load_model(s.model)
        assert client.infer(s.model, inputs()).as_numpy("scores").tobytes() == expected(s)


def test_a_stream_answers_each_request_and_survives_a_wrong_one(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with stage.running(s.deployment()), triton.InferenceServerClient(stage.target) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for name in (s.name, "nothing", s.name):
            client.async_stream_infer(name, inputs())
        outcomes = [answers.get(timeout=10) for _ in range(3)]
        assert [error is None for _, error in outcomes] == [True, False, True]
        assert outcomes[2][0].as_numpy("scores").tobytes() == expected(s)


def call(stage: GatewayStage, content: bytes, timeout: float = 10) -> grpc.StatusCode:
    """Ask with these bytes, whatever they are."""
    with grpc.insecure_channel(stage.target) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer"
        )
        return ask.future(content, timeout=timeout).code()


def request(s: Stream, **changes: Any) -> bytes:  # noqa: ANN401 - fields of the message
    tensor = messages.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[5, 3])
    tensor.contents.fp32_contents.extend(ROWS.ravel().tolist())
    fields = {"model_name": s.name, "inputs": [tensor], **changes}
    return messages.ModelInferRequest(**fields).SerializeToString()


def test_each_refusal_has_its_status(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    wide = messages.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[2**40, 3])
    now = {"timeout": messages.InferParameter(int64_param=1)}
    with stage.running(s.deployment()):
        assert call(stage, request(s)) is grpc.StatusCode.OK
        assert call(stage, b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
        assert call(stage, request(s, inputs=[])) is grpc.StatusCode.INVALID_ARGUMENT
        assert call(stage, request(s, model_name="nothing")) is grpc.StatusCode.NOT_FOUND
        assert call(stage, request(s, inputs=[wide])) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(stage, request(s, parameters=now)) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call(stage, b"x" * (17 * 2**20)) is grpc.StatusCode.RESOURCE_EXHAUSTED
