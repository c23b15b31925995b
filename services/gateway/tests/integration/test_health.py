"""The gateway as a process: it starts, says how it is, and stops."""

import grpc
from gateway_stage import GatewayStage
from grpc_health.v1 import health_pb2, health_pb2_grpc


def test_it_says_that_it_lives_and_what_it_is(stage: GatewayStage) -> None:
    with stage.running() as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2").json()["name"] == "millrace"
        assert "millrace_gateway_ready_state 1.0" in client.get("/metrics").text
        assert client.get("/openapi.json").json()["info"]["title"] == "millrace gateway"


def test_its_document_is_a_page_that_needs_nothing_from_elsewhere(stage: GatewayStage) -> None:
    with stage.running() as client:
        paths, page = client.get("/openapi.json").json()["paths"], client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    written = {f"<code>{method.upper()} {path}</code>" for path, item in paths.items() for method in item}
    assert len(written) > 20
    assert {each for each in written if each not in page.text} == set()
    assert "takes the role operator" in page.text
    assert {each for each in ("<script", "src=", "@import", 'href="http') if each in page.text} == set()


def test_its_document_promises_the_errors_that_it_answers_with(stage: GatewayStage) -> None:
    with stage.running() as client:
        document = client.get("/openapi.json").json()
    answers = [operation["responses"] for item in document["paths"].values() for operation in item.values()]
    assert not [promised for promised in answers if "422" in promised]
    assert all(any(status.startswith("4") for status in promised) for promised in answers)


def test_every_error_has_one_shape(stage: GatewayStage) -> None:
    with stage.running() as client:
        unknown, method = client.get("/nothing"), client.post("/v2")
        assert (unknown.status_code, method.status_code) == (404, 405)
        for answer in (unknown, method):
            assert set(answer.json()) == {"error", "remedy", "code"}


def test_grpc_has_the_standard_health_service(stage: GatewayStage) -> None:
    with stage.running(), grpc.insecure_channel(stage.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
