"""The health check of a container says what the process says, and tells apart that nobody can be asked."""

import pytest

from millrace.process.clock import SystemClock
from millrace.process.health import Health, HealthServer
from millrace.process.probe import PORT, main


@pytest.fixture
def health() -> Health:
    return Health(clock=SystemClock())


def test_it_says_what_the_process_says(
    health: Health, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HealthServer(health, bytes) as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert main([]) == 1
        assert "starting" in capsys.readouterr().out
        assert main(["/livez"]) == 0
        health.ready()
        assert main([]) == 0


def test_nobody_there_is_not_well(
    health: Health, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HealthServer(health, bytes) as server:
        monkeypatch.setenv(PORT, str(server.port))
    assert main([]) == 1
    assert f"no answer from port {server.port}" in capsys.readouterr().err


@pytest.mark.parametrize(("port", "path"), [("", "/readyz"), ("0", "/readyz"), ("9100", "/metrics"), ("x", "/livez")])
def test_what_cannot_be_asked_is_told_apart(
    port: str, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PORT, port)
    assert main([path]) == 2
    assert PORT in capsys.readouterr().err
