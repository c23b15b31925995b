"""Nothing that a client can send is a fault of the gateway: no 5xx but 503 and 504, no INTERNAL, no UNKNOWN.

A handful of examples by seeds that are kept; `make chaos` tries many more (MILLRACE_FUZZ_EXAMPLES).
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import httpx
import pytest
import schemathesis
from gateway_stage import GatewayStage
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.schemas import OpenApiSchema
from scorer_stream import Stream

from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace_gateway.adapters.grpc.generated import inference_pb2 as messages
from millrace_gateway.adapters.grpc.generated.predictions_pb2 import SubscribeRequest

EXAMPLES: Final = int(os.environ.get("MILLRACE_FUZZ_EXAMPLES", "4"))
SEEDS: Final = (1, 20_261_123)
FAULTS: Final = {500, 501, 502, 505}
GRPC_FAULTS: Final = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}

few: Final = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@schemathesis.serializer("application/offset+octet-stream")
def offset_octets(context: Any, value: Any) -> bytes:  # noqa: ANN401 - schemathesis's own
    """A piece of an upload, as it is."""
    return value if isinstance(value, bytes) else str(value).encode()


@dataclass(frozen=True)
class Target:
    """A gateway to throw things at."""

    stage: GatewayStage
    stream: Stream
    client: httpx.Client
    schema: OpenApiSchema


@pytest.fixture(scope="module")
def target(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = Settings(home=tmp_path_factory.mktemp("home"))
    stream = Stream(broker, home, f"g-{uuid.uuid4().hex[:10]}")
    stream.push(home.home / "bundle")
    stage = GatewayStage(broker, home)
    with stage.running(stream.deployment()) as client:
        document = client.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=stage.url)
        yield Target(stage, stream, client, schema)
        assert client.get("/v2/health/ready").status_code == 200
        assert client.post(f"/v2/models/{stream.name}/infer", content=good()).status_code == 200


def good() -> bytes:
    tensor = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1.5, -2, 3e4]}
    request = {"id": "an id", "parameters": {"timeout": 10**7, "key": "k"}, "inputs": [tensor]}
    return json.dumps(request).encode()


def good_message(name: str) -> bytes:
    tensor = messages.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 3])
    request = messages.ModelInferRequest(model_name=name, inputs=[tensor], raw_input_contents=[bytes(12)])
    return request.SerializeToString()


def judge(answer: Any) -> None:  # noqa: ANN401 - of whatever client
    """Fail where an answer is a fault of the gateway, or a refusal in another shape than the one."""
    assert answer.status_code not in FAULTS, answer.text
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert set(answer.json()) == {"error", "remedy", "code"}


mutations = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["cut", "set", "repeat"]), st.binary(max_size=8)), max_size=4
)


def mutated(content: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """Something near what was good."""
    for place, kind, piece in changes:
        at = place % (len(content) + 1)
        match kind:
            case "cut":
                content = content[:at]
            case "set":
                content = content[:at] + piece + content[at + len(piece) :]
            case _:
                content = content[:at] + content[at // 2 : at] + content[at:]
    return content


@pytest.mark.parametrize("number", SEEDS[:1])
def test_every_operation_of_the_document_answers_what_fits_it_and_what_does_not(target: Target, number: int) -> None:
    def try_operation(operation: Any) -> None:  # noqa: ANN401 - schemathesis's own
        @seed(number)
        @few
        @given(data=st.data())
        def attempt(data: st.DataObject) -> None:
            mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
            case = data.draw(operation.as_strategy(generation_mode=mode))
            if "/infer" in operation.path and data.draw(st.booleans()):
                case.path_parameters["model"] = target.stream.name
            judge(case.call(timeout=30))

        attempt()

    for result in target.schema.get_all_operations():
        assert isinstance(result, Ok), result
        try_operation(result.ok())


@pytest.mark.parametrize("number", SEEDS)
def test_bodies_near_a_good_one_are_answered_or_refused(target: Target, number: int) -> None:
    @seed(number)
    @few
    @given(changes=mutations, length=st.none() | st.integers(-1, 300))
    def attempt(changes: list[tuple[int, str, bytes]], length: int | None) -> None:
        headers = {} if length is None else {"inference-header-content-length": str(length)}
        path = f"/v2/models/{target.stream.name}/infer"
        judge(target.client.post(path, content=mutated(good(), changes), headers=headers))

    attempt()


@pytest.mark.parametrize("number", SEEDS)
def test_messages_near_a_good_one_are_answered_or_refused(target: Target, number: int) -> None:
    methods = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    with grpc.insecure_channel(target.stage.target) as channel:

        @seed(number)
        @few
        @given(name=st.sampled_from(sorted(methods)), changes=mutations, noise=st.none() | st.binary(max_size=200))
        def attempt(name: str, changes: list[tuple[int, str, bytes]], noise: bytes | None) -> None:
            content = mutated(good_message(target.stream.name), changes) if noise is None else noise
            path = f"/inference.GRPCInferenceService/{name}"
            if name == "ModelStreamInfer":
                streaming: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
                outcome = streaming(iter([content]), timeout=20)
                with suppress(grpc.RpcError):  # the status is known once all answers are read
                    list(outcome)
                code = outcome.code()
            else:
                single: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                code = single.future(content, timeout=20).code()
            assert code not in GRPC_FAULTS | {grpc.StatusCode.DEADLINE_EXCEEDED}, (name, content)

        attempt()


@pytest.mark.parametrize("number", SEEDS)
def test_subscriptions_near_a_good_one_begin_or_are_refused(target: Target, number: int) -> None:
    good = SubscribeRequest(deployment=target.stream.name, start="earliest", keys=["k"], version=1, min_score=0.5)
    with grpc.insecure_channel(target.stage.target) as channel:
        subscribe: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            "/millrace.v1.Predictions/Subscribe"
        )

        @seed(number)
        @few
        @given(changes=mutations, noise=st.none() | st.binary(max_size=200))
        def attempt(changes: list[tuple[int, str, bytes]], noise: bytes | None) -> None:
            content = mutated(good.SerializeToString(), changes) if noise is None else noise
            events = subscribe(content, timeout=20)
            with suppress(grpc.RpcError):
                next(events)  # the place where it begins
            events.cancel()  # or it would go on for ever
            assert events.code() not in GRPC_FAULTS | {grpc.StatusCode.DEADLINE_EXCEEDED}, content

        attempt()
