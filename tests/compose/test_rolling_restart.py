"""Every broker, node and gateway is replaced, one after another, while records flow and callers ask."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Final

import httpx

from millrace.testing.waiting import eventually
from tests.compose.stack import FEATURES, PATIENCE, Stack
from tests.e2e.launcher.stream import beside, verdict

BROKERS: Final = ("kafka-1", "kafka-2", "kafka-3")
NODES: Final = ("launcher-1", "launcher-2")
GATEWAYS: Final = ("gateway", "gateway-2")
TENSOR: Final = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3.0]}
UP: Final = re.compile(r'^haproxy_server_status\{proxy="(\w+)",server="([\w-]+)",state="UP"\} 1', re.MULTILINE)


@dataclass
class Caller:
    """Asks the model through HAProxy without a pause, and counts what it is answered."""

    key: str = field(repr=False)
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)

    def ask(self, stopping: Event) -> None:
        known = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url="http://127.0.0.1:8080", headers=known, timeout=60, trust_env=False) as client:
            while not stopping.wait(0.01):
                answer = client.post("/v2/models/rain-model/infer", json={"inputs": [TENSOR]})
                self.statuses[answer.status_code] += 1
                if not answer.is_success:
                    self.refusals.append(f"{answer.status_code}: {answer.text[:500]}")

    def await_more_answers(self) -> None:
        """Wait until some hundred more have come."""
        enough = self.statuses[HTTPStatus.OK] + 200
        eventually(lambda: self.statuses[HTTPStatus.OK] >= enough, within=PATIENCE, what="answers")


def are_all_asked() -> bool:
    """Whether HAProxy deals requests out to each gateway, by both doors."""
    metrics = httpx.get("http://127.0.0.1:8405/metrics", trust_env=False).text
    return set(UP.findall(metrics)) >= {(door, name) for door in ("rest", "grpc") for name in GATEWAYS}


def test_replacing_everything_loses_no_record_and_refuses_no_caller(stack: Stack, say: Callable[[str], None]) -> None:
    with stack.control() as control:
        caller = Caller(control.create_key("rolling-test")["key"])
    eventually(are_all_asked, within=PATIENCE, what="both gateways behind HAProxy")
    with beside(stack.feed().send), beside(caller.ask):
        caller.await_more_answers()
        for gateway in GATEWAYS:
            stack.replace(gateway)
            eventually(are_all_asked, within=PATIENCE, what=f"{gateway} behind HAProxy again")
            caller.await_more_answers()
        for broker in BROKERS:
            stack.replace(broker)
            eventually(stack.has_all_replicas, within=PATIENCE, what=f"all replicas in step after {broker}")
            stack.await_more_predictions(f"predictions after {broker}")
        for node in NODES:
            stack.replace(node)
            eventually(lambda: stack.is_tended_by(*NODES), within=PATIENCE, what=f"all scorers ready after {node}")
            stack.await_more_predictions(f"predictions after {node}")
        caller.await_more_answers()
    assert caller.refusals == []
    total = verdict(stack.broker, FEATURES, "rain")
    say(
        f"all replaced: {total} records, 0 lost, 0 duplicated, 0 out of order; "
        f"{caller.statuses.total()} requests, 0 refused"
    )


def test_who_has_no_key_is_refused(stack: Stack) -> None:
    with httpx.Client(base_url="http://127.0.0.1:8080", trust_env=False) as client:
        eventually(lambda: client.get("/v2/health/ready").status_code == HTTPStatus.OK, within=PATIENCE)
        assert client.get("/v2/models/rain-model").status_code == HTTPStatus.UNAUTHORIZED
