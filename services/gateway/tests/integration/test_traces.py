"""A trace from a request through a topic to a prediction, as a collector gets it over OTLP."""

import queue
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from gateway_stage import GatewayStage
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from scorer_stream import Stream
from tritonclient.utils import InferenceServerException

from millrace.codec.reading import read_prediction
from millrace.core.errors import RequestError
from millrace.process.settings import Settings, TraceSettings
from millrace.telemetry.traces import TraceContext
from millrace.testing.broker import Broker
from millrace.testing.running import serving
from millrace_gateway.adapters.grpc.generated import predictions_pb2

MINE = TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
NOT_RECORDED = MINE.header().decode()[:-1] + "0"
ROW = {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3]}]}


@dataclass
class Collector:
    """What was sent to it."""

    url: str
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> dict[str, Any]:
        """Every span, by its name."""
        return {
            span.name: span
            for request in self.requests
            for of_process in request.resource_spans
            for of_library in of_process.scope_spans
            for span in of_library.spans
        }


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with collecting() as made:
        yield made


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector of OTLP over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append(ExportTraceServiceRequest.FromString(content))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            """Silence."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        made = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
        yield made


def test_a_trace_leads_from_a_request_through_a_topic_to_its_prediction(
    broker: Broker, tmp_path: Path, collector: Collector
) -> None:
    settings = Settings(home=tmp_path / "home", traces=TraceSettings(endpoint=collector.url))
    stream = Stream(broker, settings, f"t-{uuid.uuid4().hex[:10]}")
    stream.push(tmp_path / "bundle")
    event, headers = {"a": 0.5, "b": -1.25, "c": 3}, {"traceparent": MINE.header().decode()}
    with stream.running(), GatewayStage(broker, settings).running(stream.deployment()) as client:
        asked = client.post(f"/v2/models/{stream.name}/infer", json=ROW, headers=headers)
        assert asked.status_code == 200, asked.text
        sent = client.post(f"/v1/streams/{stream.name}/events", json=event, headers=headers)
        assert sent.status_code == 200, sent.text
        assert client.post(f"/v2/models/{stream.name}/infer", json=ROW).status_code == 200
        stream.wait_for(3)
    # Both services have closed, and with that sent everything.
    spans = collector.spans()
    door, batch = spans["POST /v1/streams/{stream}/events"], spans[f"score {stream.source}"]
    assert len(spans) == 3, "the request that began no trace has none"
    assert spans["POST infer"].trace_id == door.trace_id
    assert door.trace_id == MINE.trace_id.to_bytes(16, "big")
    assert door.parent_span_id == MINE.span_id.to_bytes(8, "big")
    assert {each.key: each.value.int_value for each in door.attributes}["http.response.status_code"] == 200
    [record] = stream.records(stream.source).headers
    assert dict(record or ())["traceparent"] == context(door).header()
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(door.trace_id, door.span_id)]
    named = [dict(each or ()).get("traceparent") for each in stream.records(f"{stream.name}.predictions").headers]
    assert context(batch).header() in named


def test_calls_over_grpc_are_spans_and_their_answers_carry_them(
    broker: Broker, tmp_path: Path, collector: Collector
) -> None:
    settings = Settings(home=tmp_path / "home", traces=TraceSettings(endpoint=collector.url))
    stream = Stream(broker, settings, f"t-{uuid.uuid4().hex[:10]}")
    stream.push(tmp_path / "bundle")
    stage, said = GatewayStage(broker, settings), {"traceparent": MINE.header().decode()}
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with stage.running(stream.deployment()) as http, triton.InferenceServerClient(stage.target) as client:
        client.infer(stream.name, tensors(), request_id="recorded", headers=said)
        client.infer(stream.name, tensors(), request_id="silent")
        client.infer(stream.name, tensors(), request_id="not recorded", headers={"traceparent": NOT_RECORDED})
        client.start_stream(lambda result, error: answers.put((result, error)), headers=said)
        client.async_stream_infer(stream.name, tensors(), request_id="streamed")
        assert answers.get(timeout=60)[1] is None
        client.stop_stream()
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            client.get_model_metadata("nothing", headers=said)
        assert subscribed(stage.target, f"{stream.name}.none", said) is grpc.StatusCode.NOT_FOUND
        assert http.post(f"/v2/models/{stream.name}/infer", json={**ROW, "id": "over http"}, headers=said).is_success
        stream.wait_for(5)
    spans = collector.spans()
    service = "inference.GRPCInferenceService"
    infer, converse, failed, feed = (
        spans[f"{service}/ModelInfer"],
        spans[f"{service}/ModelStreamInfer"],
        spans[f"{service}/ModelMetadata"],
        spans["millrace.v1.Predictions/Subscribe"],
    )
    assert len(spans) == 5, "a call that began no recorded trace has none"
    for span in (infer, converse, failed, feed):
        assert span.trace_id == MINE.trace_id.to_bytes(16, "big")
        assert span.parent_span_id == MINE.span_id.to_bytes(8, "big")
    attributes = {each.key: each.value for each in infer.attributes}
    assert attributes["rpc.system"].string_value == "grpc"
    assert (attributes["rpc.service"].string_value, attributes["rpc.method"].string_value) == (service, "ModelInfer")
    codes = [
        {each.key: each.value.int_value for each in span.attributes}["rpc.grpc.status_code"]
        for span in (infer, converse, failed, feed)
    ]
    assert codes == [0, 0, 5, 5]
    expected = {
        "recorded": context(infer).header(),
        "silent": None,
        "not recorded": None,
        "streamed": context(converse).header(),
        "over http": context(spans["POST infer"]).header(),
    }
    answered = stream.records(f"{stream.name}.predictions")
    told = zip(answered.values, answered.headers, strict=True)
    assert {read_prediction(value)["event_id"]: dict(each or ()).get("traceparent") for value, each in told} == expected
    asked = [dict(each or ()) for each in stream.records(f"{stream.name}.requests").headers]
    assert {(each["id"] or b"").decode(): each.get("traceparent") for each in asked} == expected


def tensors() -> list[triton.InferInput]:
    tensor = triton.InferInput("features", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.array([[0.5, -1.25, 3]], np.float32))
    return [tensor]


def subscribed(target: str, deployment: str, metadata: Mapping[str, str]) -> grpc.StatusCode:
    """How a subscription ends."""
    with grpc.insecure_channel(target) as channel:
        subscribe: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            "/millrace.v1.Predictions/Subscribe"
        )
        asked = predictions_pb2.SubscribeRequest(deployment=deployment).SerializeToString()
        call = subscribe(asked, timeout=60, metadata=tuple(metadata.items()))
        with suppress(grpc.RpcError):
            list(call)
        return call.code()


def context(span: Any) -> TraceContext:  # noqa: ANN401 -- of protobuf
    return TraceContext(int.from_bytes(span.trace_id, "big"), int.from_bytes(span.span_id, "big"))


def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_TRACES__ENDPOINT", "collector:4318")
    with pytest.raises(RequestError, match="MILLRACE_TRACES__ENDPOINT"):
        Settings.load()
