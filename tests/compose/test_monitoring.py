"""Prometheus finds every process of the stack by asking the nodes, and evaluates every rule."""

from typing import Any, Final

import httpx
import pytest

from millrace.testing.waiting import eventually
from tests.compose.stack import PATIENCE

pytestmark = pytest.mark.usefixtures("stack")

EXPECTED: Final = {"launcher": 2, "scorer": 3, "gateway": 2}
"""How many processes of which kind run."""


def ask(path: str) -> Any:  # noqa: ANN401 -- JSON
    """What Prometheus answers."""
    answer = httpx.get(f"http://127.0.0.1:9090/api/v1/{path}", trust_env=False, timeout=30)
    return answer.raise_for_status().json()["data"]


def kinds_that_are_up() -> dict[str, int]:
    """How many targets of which kind answer; all must."""
    targets = ask("targets")["activeTargets"]
    assert [each for each in targets if each["health"] != "up"] == []
    found = [each["labels"].get("kind") for each in targets if each["labels"]["job"].startswith("millrace")]
    assert [each for each in targets if each["labels"]["job"] == "haproxy"]
    return {kind: found.count(kind) for kind in EXPECTED}


def test_every_target_is_up() -> None:
    eventually(lambda: kinds_that_are_up() == EXPECTED, within=PATIENCE, what="all processes among the targets")


def evaluated_rules() -> list[dict[str, Any]]:
    """All rules, each evaluated once at least."""
    rules = [each for group in ask("rules")["groups"] for each in group["rules"]]
    assert [each["name"] for each in rules if each["health"] == "unknown"] == []
    return rules


def test_no_rule_fails() -> None:
    rules = eventually(evaluated_rules, within=PATIENCE, what="an evaluation of every rule")
    assert [each for each in rules if each["health"] != "ok" or each.get("lastError")] == []
