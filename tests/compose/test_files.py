"""Docker reads the stack's files as they are meant, with each profile alone and with all of them."""

import json
import os
import subprocess
from typing import Any, Final

import pytest

from tests.compose.stack import ROOT

PROFILES: Final = ("demo", "flink", "haproxy", "observability", "registry", "services", "spark", "ui", "*")
SECRETS: Final = {"MILLRACE_LAUNCHER__TOKEN": "x", "GRAFANA_PASSWORD": "x"}
ENDPOINT: Final = "MILLRACE_TRACES__ENDPOINT"
TRACING: Final = ("gateway", "gateway-2", "launcher-1", "launcher-2", "scorer")
"""What makes spans, or starts what makes them."""


def configured(profile: str, **environment: str) -> dict[str, Any]:
    """What Docker makes of the stack's file with a profile."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    done = subprocess.run(
        ["docker", "compose", "--file", "compose/compose.yaml", "--profile", profile, "config", "--format", "json"],
        cwd=ROOT,
        env={**known, **SECRETS, **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_adds_services_to_the_core(profile: str) -> None:
    services = configured(profile)["services"]
    added = {name for name, each in services.items() if each.get("profiles")}
    assert added
    assert {name for name in added if profile not in (*services[name]["profiles"], "*")} == set()
    assert {"kafka-1", "kafka-2", "kafka-3", "redis", "launcher-1", "launcher-2"} == services.keys() - added


def test_nothing_is_traced_unless_it_is_said_where_spans_go() -> None:
    silent = configured("*")["services"]
    assert [name for name, each in silent.items() if (each.get("environment") or {}).get(ENDPOINT)] == []
    address = "http://collector:4318/v1/traces"
    told = configured("*", **{ENDPOINT: address})["services"]
    assert {name for name in TRACING if told[name]["environment"].get(ENDPOINT) != address} == set()


def test_a_secret_that_is_missing_is_named() -> None:
    with pytest.raises(AssertionError, match=r"MILLRACE_LAUNCHER__TOKEN.*make compose-up"):
        configured("*", MILLRACE_LAUNCHER__TOKEN="")
