"""Who may call the REST API, and where the token is."""

import stat
from pathlib import Path
from typing import cast

import pytest
from fastapi.testclient import TestClient

from millrace.core.errors import RequestError
from millrace_launcher.adapters.place import own_token
from millrace_launcher.adapters.rest.api import make_api
from millrace_launcher.adapters.rest.desk import Desk
from millrace_launcher.adapters.rest.server import listen
from millrace_launcher.settings import LauncherSettings


@pytest.fixture
def door() -> TestClient:
    """The API before a desk that nobody gets to."""
    return TestClient(make_api(cast("Desk", None), token="right"))  # noqa: S106 -- of this test


@pytest.mark.parametrize("shown", ["", "Bearer wrong", "right", "Bearer right ", "Basic right", "Bearer \u00fc"])
def test_a_caller_without_the_token_is_refused(door: TestClient, shown: str) -> None:
    for method, path in (("GET", "/v1/nodes"), ("DELETE", "/v1/deployments/rain"), ("PUT", "/v1/deployments/rain")):
        answer = door.request(method, path, headers={b"Authorization": shown.encode()}, json={})
        assert answer.status_code == 401
        assert answer.json()["error"] == "the token is missing or wrong"
        assert "right" not in answer.text


def test_a_request_that_is_not_one_is_refused_in_the_same_shape(door: TestClient) -> None:
    allowed = {"Authorization": "Bearer right", "Millrace-User": "me"}
    for path in ("/v1/processes/rain/scorer/x/logs", "/v1/processes/rain/scorer/0/logs?lines=0"):
        answer = door.get(path, headers=allowed)
        assert (answer.status_code, set(answer.json())) == (422, {"error", "remedy"})
    unsigned = door.delete("/v1/deployments/rain", headers={"Authorization": "Bearer right"})
    assert (unsigned.status_code, "millrace-user" in unsigned.json()["error"].lower()) == (422, True)


def test_the_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    token = own_token(tmp_path / "home")
    assert len(token) > 40
    assert own_token(tmp_path / "home") == token
    assert stat.S_IMODE((tmp_path / "home" / "launcher.token").stat().st_mode) == 0o600


def test_a_port_that_is_taken_is_said() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(RequestError, match=rf"cannot be served on 127.0.0.1:{port}"), listen("127.0.0.1", port):
            pass


def test_settings_come_from_the_environment_and_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAUNCHER__NODE", "b")
    monkeypatch.setenv("MILLRACE_LAUNCHER__TOKEN", "secret")
    found = LauncherSettings.load(port=7)
    assert (found.node, found.port, found.host) == ("b", 7, "127.0.0.1")
    assert "secret" not in repr(found)
    monkeypatch.setenv("MILLRACE_LAUNCHER__NODE", "Not A Name")
    with pytest.raises(RequestError, match="MILLRACE_LAUNCHER__NODE"):
        LauncherSettings.load()
