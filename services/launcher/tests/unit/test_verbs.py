"""Every operation of the REST API has a method of the client and a command, and these call it and nothing else."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from api_stage import described_api
from api_stage import operations as described_operations

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.client.documents import deployment_document
from millrace.core.control.keys import Role
from millrace.core.errors import RequestError, TransientError

STATUS = {"deployment": "rain", "state": "ready", "why": "", "ready": 0, "desired": 0, "slots": [], "document": {}}
KEY = {
    "name": "ci",
    "role": "viewer",
    "state": "valid",
    "created_ms": 0,
    "created_by": "me",
    "expires_ms": None,
    "revoked_ms": None,
}
MODEL = {
    "kind": "version",
    "name": "rain",
    "version": 1,
    "digest": f"sha256:{'0' * 64}",
    "runtime": "onnx",
    "task": "binary",
    "features": 1,
    "profile": f"sha256:{'1' * 64}",
    "bytes": 10,
    "created_at": "2026-01-01T00:00:00Z",
    "pushed_at": "2026-01-01T00:00:00Z",
    "aliases": ["champion"],
}
MANIFEST = {
    "name": "rain",
    "signature": {
        "features": [{"name": "a"}],
        "inputs": [{"name": "features", "features": ["a"]}],
        "task": "binary",
        "classes": ["no", "yes"],
        "score_output": "scores",
    },
    "profile": f"sha256:{'1' * 64}",
    "environment": {"python": "3.11", "platform": "linux"},
    "created_at": "2026-01-01T00:00:00Z",
}
JOB = {"job": "j", "kind": "python", "slot": "j/python/0", "state": "done", "why": "", "process": None}
EXAMPLES = Path(__file__).parents[4] / "schemas" / "models" / "v1" / "examples" / "valid"
EVALUATION = json.loads((EXAMPLES / "evaluation.json").read_text())
ANSWERS: dict[str, Any] = {
    "environment": [{"node": "a", "fit": False, "why": "is unfit", "found": {}, "needed": {}}],
    "sync_environment": {"node": "a", "installed": {"numpy": "2.3.0"}},
    "jobs": [JOB],
    "job": JOB,
    "submit": {"job": "j", "slot": "j/python/0", "result": "submitted"},
    "cancel": {"job": "j", "result": "cancelled"},
    "nodes": [],
    "deployments": [],
    "deployment": STATUS,
    "why": ["rain is ready"],
    "processes": [],
    "logs": ["a line"],
    "history": [],
    "verification": {"whole": True, "records": 0, "broken": None},
    "put": {"result": "created"},
    "plan": {"changes": [], "decisions": [], "faults": []},
    "scale": {"scale": {"scorers": 2}, "remark": ""},
    "delete": {"result": "deleted"},
    "answers": [
        {"question": "Is the load balanced?", "light": "green", "says": "yes", "numbers": {}, "evidence": ["rain.dlq"]}
    ],
    "caller": {"who": "key/ci", "role": "viewer"},
    "keys": [KEY],
    "create_key": {**KEY, "key": "mr_ci_secret"},
    "rotate_key": {**KEY, "key": "mr_ci_secret"},
    "revoke_key": {**KEY, "state": "revoked"},
    "service_discovery": [{"targets": ["127.0.0.1:9008"], "labels": {"kind": "launcher"}}],
    "metrics": "up 1",
    "series": {"every_secs": 5.0, "at_ms": [0], "done_rate": [1.5], "lag": [0], "p99_ms": [None]},
    "audits": {"windows": [], "alerts": []},
    "dead_letters": [],
    "models": [MODEL],
    "model": {**MODEL, "manifest": MANIFEST, "devices": [], "evaluations": [EVALUATION]},
    "promote": MODEL,
    "rollback": MODEL,
}

JOB_DOCUMENT = {
    "kind": "python",
    "arguments": ["-c", "print(1)"],
    "environment": "",
    "folder": "",
    "variables": {},
    "needs": {"cores": 0.5, "memory_bytes": 1 << 30, "gpus": 0},
}

COMMANDS = {
    "environment": ["env", "check", "rain"],
    "sync_environment": ["env", "sync", "rain", "--node", "a"],
    "jobs": ["job", "status"],
    "job": ["job", "status", "j"],
    "submit": ["launch", "python", "--", "-c", "print(1)"],
    "cancel": ["job", "cancel", "j"],
    "nodes": ["nodes"],
    "deployments": ["deployments"],
    "deployment": ["status", "rain"],
    "why": ["why", "rain"],
    "processes": ["processes"],
    "logs": ["logs", "rain/scorer/0"],
    "history": ["history", "rain"],
    "verification": ["history", "--verify"],
    "put": ["deploy", "rain", "--from", "rain.features"],
    "plan": ["deploy", "rain", "--from", "rain.features", "--plan"],
    "scale": ["scale", "rain", "scorers=2"],
    "delete": ["delete", "rain"],
    "answers": ["answers", "rain"],
    "caller": ["whoami"],
    "keys": ["keys", "list"],
    "create_key": ["keys", "create", "ci", "--lasts", "90d"],
    "rotate_key": ["keys", "rotate", "ci"],
    "revoke_key": ["keys", "revoke", "ci"],
    "service_discovery": ["targets"],
    "metrics": ["metrics", "rain/scorer/0"],
    "series": ["series", "rain/scorer/0"],
    "audits": ["audit", "rain", "--api"],
    "dead_letters": ["dlq", "show", "rain", "--api"],
    "models": ["model", "list", "--api"],
    "model": ["model", "show", "rain/1", "--api"],
    "promote": ["model", "promote", "rain/1", "--api"],
    "rollback": ["model", "rollback", "rain", "--api"],
}
"""The command for each operation, by the operation's id."""

CALLS: dict[str, Callable[[ControlClient], object]] = {
    "put": lambda control: control.put("rain", deployment_document("rain", source="rain.features")),
    "scale": lambda control: control.scale("rain", {"scorers": 2}),
    "delete": lambda control: control.delete("rain"),
    "create_key": lambda control: control.create_key("ci", lasts=timedelta(days=90)),
    "rotate_key": lambda control: control.rotate_key("ci"),
    "revoke_key": lambda control: control.revoke_key("ci"),
    "promote": lambda control: control.promote("rain", 1),
    "rollback": lambda control: control.rollback("rain"),
    "sync_environment": lambda control: control.sync_environment("rain", "a"),
    "submit": lambda control: control.submit(JOB_DOCUMENT),
    "cancel": lambda control: control.cancel("j"),
}
"""The client's call for each operation that changes something, as the command means it."""


@dataclass
class Operations:
    """The operations that the API describes."""

    by_id: dict[str, tuple[str, re.Pattern[str]]] = field(default_factory=dict)

    def of(self, method: str, path: str) -> str:
        """The id of the operation that a request calls."""
        [found] = [name for name, (verb, pattern) in self.by_id.items() if verb == method and pattern.fullmatch(path)]
        return found


@pytest.fixture(scope="module")
def operations() -> Operations:
    api = described_api()
    found = Operations()
    for path, methods in api.openapi()["paths"].items():
        for method, operation in methods.items():
            pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
            found.by_id[operation["operationId"]] = (method.upper(), pattern)
    return found


@dataclass
class Recorder:
    """A launcher that notes what it is asked."""

    url: str
    asked: list[str] = field(default_factory=list)
    shown: list[str | None] = field(default_factory=list)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)


@pytest.fixture
def launcher(operations: Operations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Recorder]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    (tmp_path / "launcher.token").write_text("secret\n")
    recorder = Recorder("")

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            operation = operations.of(self.command, self.path.partition("?")[0])
            recorder.asked.append(operation)
            recorder.shown.append(self.headers["Authorization"])
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            recorder.requests.append((self.command, self.path, sent))
            body = json.dumps(ANSWERS[operation]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 -- the base class looks for these names

        def log_message(self, *_: object) -> None:
            """Silence."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MILLRACE_LAUNCHER__URL", recorder.url)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield recorder
        server.shutdown()
        thread.join()


def test_s64_no_operation_is_without_a_method_and_a_command(operations: Operations) -> None:
    assert set(operations.by_id) == set(COMMANDS)
    assert [name for name in operations.by_id if not callable(getattr(ControlClient, name, None))] == []


@pytest.mark.parametrize("operation", COMMANDS)
def test_a_command_calls_its_operation(operation: str, launcher: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMMANDS[operation]) == 0, capsys.readouterr().err
    assert launcher.asked[-1] == operation
    assert set(launcher.asked[:-1]) <= {"plan"}, "deploy looks before it leaps"
    assert set(launcher.shown) == {"Bearer secret"}


def test_s72_every_act_is_recorded_from_both_sides() -> None:
    acts = {operation.name for operation in described_operations(described_api()) if operation.role != Role.VIEWER}
    assert acts - {"keys"} == set(CALLS)


@pytest.mark.parametrize("operation", CALLS)
def test_s72_a_command_and_the_client_send_the_same_request(operation: str, launcher: Recorder) -> None:
    assert run(COMMANDS[operation]) == 0
    with ControlClient(launcher.url) as control:
        CALLS[operation](control)
    assert launcher.asked[-2:] == [operation, operation]
    by_command, by_client = launcher.requests[-2:]
    assert by_command == by_client


def test_the_history_shows_what_became_of_what(
    launcher: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before, after = {"scale": 1, "model": "rain"}, {"scale": 3, "model": "rain"}
    changed = {"before": {"t": {"rain": before}}, "after": {"t": {"rain": after}}, "result": "changed"}
    refused = {"before": {}, "after": {}, "result": {"operation": "put", "error": "this takes the role operator"}}
    long = {"curve": {"cells": list(range(100))}}
    learned = {"before": {"t": {"rain": {}}}, "after": {"t": {"rain": long}}, "result": long}
    told = (changed, refused, learned)
    records = [{"at_ms": 0, "who": "key/ci", "what": "w", "subject": "s", **each} for each in told]
    monkeypatch.setitem(ANSWERS, "history", records)
    assert run(["history", "rain", "--who", "key/ci", "--since", "1970-01-02"]) == 0
    said = capsys.readouterr().out
    assert "1970-01-01 00:00:00" in said
    assert "scale: 1 → 3" in said
    assert "model" not in said
    assert "this takes the role operator" in said
    assert "curve changed" in said
    assert "cells" not in said, "what a machine wrote for machines is in the JSON"
    assert launcher.requests[-1][1] == "/v1/history?deployment=rain&who=key%2Fci&since_ms=86400000"


@pytest.mark.parametrize(("light", "code"), [("green", 0), ("yellow", 0), ("red", 1)])
def test_answers_end_as_the_worst_of_them(
    light: str, code: int, launcher: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [even] = ANSWERS["answers"]
    numbers = {"shares": {"rain/scorer/0": 0.98}, "p99_ms": None}
    monkeypatch.setitem(ANSWERS, "answers", [even, {**even, "light": light, "numbers": numbers}])
    assert run(["answers", "rain"]) == code
    said = capsys.readouterr().out
    assert light in said
    assert "shares=rain/scorer/0:0.98  p99_ms=unknown" in said


def test_a_key_is_shown_alone_so_that_it_can_go_into_a_file(
    launcher: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", "ci"]) == 0
    out, err = capsys.readouterr()
    assert out == "mr_ci_secret\n"
    assert "the only time" in err


@pytest.mark.parametrize("lasts", ["90", "d", "0d", "1y", "-1h"])
def test_a_length_of_time_that_is_none_is_refused(
    lasts: str, launcher: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", "ci", f"--lasts={lasts}"]) == 1
    assert "is no length of time" in capsys.readouterr().err
    assert launcher.asked == []


def test_a_plan_without_anything_to_do_says_so(launcher: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "rain", "--from", "t", "--plan"]) == 0
    assert capsys.readouterr().out == "nothing would change: it is so already\n"
    assert launcher.asked == ["plan"]


def test_a_plan_that_will_not_work_is_not_carried_out(
    launcher: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ANSWERS, "plan", {"changes": [], "decisions": [], "faults": ["there is no such topic"]})
    assert run(["deploy", "rain", "--from", "t"]) == 1
    assert "rain will not work: there is no such topic" in capsys.readouterr().err
    assert run(["deploy", "rain", "--from", "t", "--plan"]) == 1
    assert launcher.asked == ["plan", "plan"]
    assert run(["deploy", "rain", "--from", "t", "--force"]) == 0
    assert launcher.asked[-1] == "put"


def test_without_a_launcher_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_LAUNCHER__URL", raising=False)
    with pytest.raises(RequestError, match=r"no launcher is named, and none runs here .*millrace up"):
        ControlClient()
    with ControlClient("http://127.0.0.1:1") as nobody, pytest.raises(TransientError, match="does not answer"):
        nobody.nodes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deploy", "rain"], "which topic shall 'rain' read?"),
        (["deploy", "rain.yaml", "--from", "t"], "rain.yaml says itself what --from"),
        (["deploy", "absent.yaml"], "cannot be read"),
        (["scale", "rain", "three"], "'three' is no number of processes"),
        (["logs", "rain"], "'rain' is no slot"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], said: str, launcher: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 1
    assert said in capsys.readouterr().err
    assert launcher.asked == []
