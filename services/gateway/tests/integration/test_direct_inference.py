"""Inference goes two ways through HTTP, a short one and the framework's: nobody can tell from the answers."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from gateway_stage import GatewayStage
from scorer_stream import MakeStream

from millrace.process.deployment import Deployment
from millrace.testing.waiting import eventually

ROW = [1.0, 2.5, -3.0]
TENSOR = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": ROW}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Talk:
    """One connection, spoken by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.answers = connection.makefile("rb")

    def say(self, content: bytes) -> None:
        self.connection.sendall(content)

    def hear(self) -> Answer | None:
        """The next answer; None where the gateway hung up."""
        if not (line := self.answers.readline()):
            return None
        headers: dict[str, str] = {}
        while (header := self.answers.readline()) != b"\r\n":
            name, _, value = header.decode().partition(": ")
            headers[name] = value.strip()
        return Answer(int(line.split()[1]), headers, self.answers.read(int(headers["content-length"])))


@contextmanager
def talking(stage: GatewayStage) -> Iterator[Talk]:
    with closing(socket.create_connection(("127.0.0.1", stage.rest_port), timeout=20)) as connection:
        talk = Talk(connection)
        with closing(talk.answers):
            yield talk


def request(deployment: Deployment, body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST /v2/models/{deployment.deployment}/infer HTTP/1.1",
        "host: here",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def asked(**more: object) -> bytes:
    return json.dumps({"id": "one", "inputs": [TENSOR], **more}).encode()


def binary() -> tuple[bytes, list[str]]:
    content = np.array(ROW, "<f4").tobytes()
    tensor = {**TENSOR, "parameters": {"binary_data_size": len(content)}}
    del tensor["data"]
    head = json.dumps({"id": "b", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + content, [f"inference-header-content-length: {len(head)}"]


ASKED: dict[str, tuple[bytes, list[str]]] = {
    "good": (asked(), []),
    "tensors as bytes": binary(),
    "one output": (asked(outputs=[{"name": "scores"}]), []),
    "no such output": (asked(outputs=[{"name": "none"}]), []),
    "no JSON": (b"{", []),
    "nothing": (b"", []),
    "too deep": (b"[" * 100 + b"]" * 100, []),
    "wrong type": (asked(inputs=[{**TENSOR, "datatype": "INT64", "data": [1, 2, 3]}]), []),
    "not finite": (json.dumps({"inputs": [{**TENSOR, "data": [1, 2, "nan"]}]}).encode(), []),
    "more bytes than said": (asked(), ["inference-header-content-length: 9"]),
    "no length": (asked(), ["inference-header-content-length: many"]),
    "a wrong deadline": (asked(parameters={"timeout": -1}), []),
}


def test_both_ways_answer_alike(stage: GatewayStage, stream: MakeStream) -> None:
    deployment = stream().deployment()
    with stage.running(deployment):
        for name, (body, headers) in ASKED.items():
            found = []
            for way in ((), ("connection: close",)):  # the short one keeps its connections
                with talking(stage) as talk:
                    talk.say(request(deployment, body, *headers, *way))
                    answer = talk.hear()
                    assert answer is not None, name
                    answer.headers.pop("connection", None)
                    found.append(answer)
            assert found[0] == found[1], name
            assert found[0].status == (200 if name in {"good", "tensors as bytes", "one output"} else 400), name


def test_requests_of_one_connection_are_answered_in_their_order(stage: GatewayStage, stream: MakeStream) -> None:
    deployment = stream().deployment()
    ids = [f"r{number}" for number in range(10)]
    with stage.running(deployment), talking(stage) as talk:
        talk.say(b"".join(request(deployment, asked(id=each)) for each in ids))  # all at once
        assert [heard_id(talk) for _ in ids] == ids
        for each in ids:  # one after the other
            talk.say(request(deployment, asked(id=each)))
            assert heard_id(talk) == each


def heard_id(talk: Talk) -> str:
    answer = talk.hear()
    assert answer is not None
    return str(json.loads(answer.body)["id"])


def test_a_request_may_come_in_pieces(stage: GatewayStage, stream: MakeStream) -> None:
    deployment = stream().deployment()
    whole = request(deployment, asked())
    with stage.running(deployment), talking(stage) as talk:
        talk.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(whole), 7):
            talk.say(whole[start : start + 7])
        answer = talk.hear()
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize("log", ["required", "best_effort"])
def test_who_talks_nonsense_or_hangs_up_harms_nobody_else(stage: GatewayStage, stream: MakeStream, log: str) -> None:
    deployment = stream().deployment(online={"log": log})
    with stage.running(deployment) as client:
        with talking(stage) as good, talking(stage) as rude:
            for _ in range(20):
                with talking(stage) as brief:
                    brief.say(request(deployment, asked()))  # and is gone
                good.say(request(deployment, asked()))
                answer = good.hear()
                assert answer is not None
                assert answer.status == 200
            rude.say(request(deployment, asked()) + b"\x00nonsense\r\n\r\n")
            good.say(request(deployment, asked(id="last")))
            assert heard_id(good) == "last"
            refused = rude.hear()
            assert refused is not None
            assert refused.status == 400
            assert rude.hear() is None
        path = f"/v2/models/{deployment.deployment}/stats"
        eventually(lambda: client.get(path).json()["model_stats"][0]["inference_count"] >= 21, what="the count")


def test_who_asks_too_often_is_told_so_the_short_way_too(stage: GatewayStage, stream: MakeStream) -> None:
    deployment = stream().deployment()
    options = stage.options(limits={"requests_per_sec": 2})
    with stage.running(deployment, options=options), talking(stage) as talk:
        heard = []
        for _ in range(50):
            talk.say(request(deployment, asked(), "x-api-key: eager"))
            heard.append(talk.hear())
        refused = [answer for answer in heard if answer is not None and answer.status == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
        talk.say(request(deployment, asked(), "x-api-key: calm"))
        calm = talk.hear()
        assert calm is not None
        assert calm.status == 200
