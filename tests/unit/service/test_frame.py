import json
import os
import signal
from pathlib import Path

import httpx
import pytest
import structlog

from millrace.core.errors import RequestError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import ExitCode, Phase
from millrace.process.settings import Settings
from millrace.service import Surroundings, run_service, watched
from millrace.telemetry.metrics import build_info


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", "here:9092")


def test_the_work_finds_its_surroundings() -> None:
    found: list[Surroundings] = []
    assert run_service("mill", found.append) is ExitCode.DONE
    assert found[0].kafka.bootstrap == "here:9092"
    assert found[0].shutdown.phase() is Phase.RUNNING


def test_a_signal_asks_the_work_to_stop() -> None:
    phases: list[Phase] = []

    def work(around: Surroundings) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        phases.append(around.shutdown.phase())

    assert run_service("mill", work) is ExitCode.DONE
    assert phases == [Phase.DRAINING]


def test_an_error_is_logged_with_its_remedy(capfd: pytest.CaptureFixture[str]) -> None:
    def work(around: Surroundings) -> None:
        raise RequestError("there is no topic clicks", remedy="create it")

    assert run_service("mill", work, slot=3) is ExitCode.REFUSED
    said = "".join(capfd.readouterr())
    assert "there is no topic clicks" in said
    assert "create it" in said


def test_every_line_of_a_launched_process_says_where_it_runs_as_its_metrics_do(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"NODE": "a", "SLOT": "rain/mill/2", "NUMBER": "7", "ENVIRONMENT": "e"}.items():
        monkeypatch.setenv(f"MILLRACE_LAUNCH__{name}", value)
    assert run_service("mill", lambda _: structlog.get_logger().info("at work"), slot=2) is ExitCode.DONE
    [line] = [each for each in map(json.loads, capfd.readouterr().err.splitlines()) if each["event"] == "at work"]
    said = {name: value for name, value in line.items() if name not in {"timestamp", "level", "event"}}
    assert said == {"service": "mill", "node": "a", "slot": "rain/mill/2", "deployment": "rain"}


def test_settings_that_are_wrong_are_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HEALTH__PORT", "many")
    assert run_service("mill", lambda around: pytest.fail("there is nothing to work with")) is ExitCode.REFUSED


def test_health_and_metrics_are_served_meanwhile() -> None:
    metrics = (build_info("mill"),)
    with watched("mill", metrics, Settings.load(), clock=SystemClock(), constants={"model": "rain"}) as told:
        told.health.ready()
        assert fetch(f"{told.url}/readyz") == "ready\n"
        exposition = fetch(f"{told.url}/metrics")
    assert 'millrace_mill_build_info{model="rain"' in exposition


def fetch(url: str) -> str:
    return httpx.get(url, timeout=10).text
