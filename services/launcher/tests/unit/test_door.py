"""Who may call the REST API, by key or token, what the history keeps of those who may not, and where the owner's is."""

import stat
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_stage import Operation, Refusals, described_api, guarded_api, operations
from callers import KNOWN, OWNER, SIGNER, WORTHLESS, claims, doorkeeper, holding, text_of
from fastapi.testclient import TestClient

from millrace.core.control.keys import Role, key_text
from millrace.core.errors import RequestError, TransientError
from millrace.process.admission import Doorkeeper
from millrace.telemetry.launcher import Refusal
from millrace.testing.clock import ManualClock
from millrace.testing.identity_provider import signed
from millrace_launcher.adapters.place import own_token
from millrace_launcher.adapters.rest.server import is_loopback, listen
from millrace_launcher.settings import LauncherSettings

OPERATIONS = list(operations(described_api()))
FORMS = {operation.name: operation.form for operation in OPERATIONS}
EMPTY: Mapping[str, Any] = {"array": [], "object": {}, "string": ""}
BODIES: Mapping[str, Any] = {
    "submit": {"kind": "python"},
    "put": {},
    "plan": {},
    "scale": {"scorers": 1},
    "create_key": {"name": "new"},
    "promote": {"version": 1},
}
"""What operations with a body are sent."""


class Anything:
    """A desk that has an answer to everything."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return lambda *_, **__: EMPTY[FORMS.get(name, "object")]


class Door:
    """The API, and what it notes."""

    def __init__(self) -> None:
        self.refusals = Refusals()
        self.clock = ManualClock()
        self.api = guarded_api(Anything(), Anything(), doorkeeper(self.clock), self.refusals, self.clock)
        self.client = TestClient(self.api)

    def ask(self, operation: Operation, authorization: str) -> Any:  # noqa: ANN401
        """Call an operation."""
        path = operation.path.format(
            name="rain", deployment="rain", kind="scorer", number=0, key="ci", coordinates="t-0-0", version=1, node="a"
        )
        body = BODIES.get(operation.name)
        return self.client.request(
            operation.method, path, headers={b"Authorization": authorization.encode()}, json=body
        )


@pytest.fixture(scope="module")
def same_door() -> Iterator[Door]:
    made = Door()
    with made.client:  # or each request starts an event loop
        yield made


@pytest.fixture
def door(same_door: Door) -> Door:
    """The door when nothing has been noted and nobody is limited; making one takes longer than asking it."""
    same_door.refusals.noted.clear()
    same_door.refusals.counted.clear()
    same_door.clock.advance(timedelta(hours=1))
    return same_door


def by_name(name: str) -> Operation:
    [found] = [operation for operation in OPERATIONS if operation.name == name]
    return found


def test_every_operation_declares_its_role() -> None:
    assert [each.name for each in OPERATIONS if each.role is None] == []
    assert {each.role for each in OPERATIONS} == set(Role)
    assert [each.name for each in OPERATIONS if each.method == "GET" and each.role == Role.OPERATOR] == []


def test_every_route_is_such_an_operation_but_the_document_itself() -> None:
    found = {f"{method} {route.path}" for route in described_api().routes for method in route.methods}  # type: ignore[attr-defined]
    described = {f"{each.method} {each.path}" for each in OPERATIONS}
    assert found - described == {"GET /openapi.json", "HEAD /openapi.json"}
    assert described <= found


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_role_opens_what_is_declared_for_it(operation: Operation, role: Role, door: Door) -> None:
    may = role.includes(Role(operation.role or Role.ADMIN))
    noted = []
    for who, shown in holding(role).items():
        answer = door.ask(operation, f"Bearer {shown}")
        assert answer.status_code == (200 if may else 403), answer.text
        if not may:
            assert answer.json()["error"] == f"{who} is {role}, and this takes the role {operation.role}"
            noted.append((who, operation.name))
    assert door.refusals.noted == noted


@pytest.mark.parametrize("shown", WORTHLESS)
def test_what_is_worth_nothing_opens_nothing(shown: str, door: Door) -> None:
    for operation in OPERATIONS:
        door.clock.advance(timedelta(minutes=1))  # Or it is said to come too often.
        answer = door.ask(operation, WORTHLESS[shown])
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), operation.name
        assert WORTHLESS[shown].rpartition(" ")[2] not in answer.text or not WORTHLESS[shown]


def test_an_operation_that_declares_no_role_is_found_and_is_for_administrators() -> None:
    door = Door()

    @door.api.get("/v1/new", operation_id="new")
    def new() -> None: ...

    door.api.openapi_schema = None
    [undeclared] = [each for each in operations(door.api) if each.role is None]
    assert undeclared.name == "new"
    assert door.ask(undeclared, f"Bearer {text_of('operator')}").status_code == 403
    assert door.ask(undeclared, f"Bearer {text_of('admin')}").status_code == 200


def test_only_who_knows_a_key_is_told_that_it_ended(door: Door) -> None:
    nodes = by_name("nodes")
    assert "'expired-admin' has expired" in door.ask(nodes, f"Bearer {text_of('expired-admin')}").json()["error"]
    assert "'revoked-admin' was revoked" in door.ask(nodes, f"Bearer {text_of('revoked-admin')}").json()["error"]
    guessed = door.ask(nodes, "Bearer " + key_text("revoked-admin", "x" * 43))
    assert guessed.json()["error"] == "the key is wrong"


def test_wrong_keys_are_limited_and_shut_nobody_out(door: Door) -> None:
    nodes = by_name("nodes")
    answers = [door.ask(nodes, WORTHLESS["wrong"]) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "60"
    assert door.ask(nodes, f"Bearer {text_of('viewer')}").status_code == 200
    assert door.ask(nodes, f"Bearer {OWNER}").status_code == 200
    assert door.ask(nodes, "").status_code == 401, "who shows no key guesses none"
    assert door.ask(by_name("delete"), f"Bearer {text_of('viewer')}").status_code == 403
    assert door.refusals.counted == {Refusal.KEY: 11, Refusal.OFTEN: 1, Refusal.ROLE: 1}
    door.clock.advance(timedelta(minutes=1))
    assert door.ask(nodes, WORTHLESS["wrong"]).status_code == 401


def test_a_token_that_gives_no_role_is_known_and_opens_nothing(door: Door) -> None:
    answer = door.ask(by_name("nodes"), f"Bearer {signed(claims(Role.ADMIN, roles=['somebody']), SIGNER)}")
    assert (answer.status_code, answer.json()["error"]) == (403, "token/admin has no role here")


def test_without_a_provider_a_token_is_a_wrong_key() -> None:
    client = TestClient(guarded_api(Anything(), Anything(), Doorkeeper(KNOWN, clock=ManualClock(), owner=OWNER)))
    shown = {"Authorization": f"Bearer {signed(claims(Role.ADMIN), SIGNER)}"}
    answer = client.get("/v1/nodes", headers=shown)
    assert (answer.status_code, answer.json()["error"]) == (401, "the key is wrong")


def test_the_history_is_not_flooded_by_refusals(door: Door) -> None:
    answers = [door.ask(by_name("delete"), f"Bearer {text_of('viewer')}") for _ in range(12)]
    assert {answer.status_code for answer in answers} == {403}
    assert door.refusals.noted == [("key/viewer", "delete")] * 10


def test_without_a_broker_who_is_refused_is_told_all_the_same(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "refused", _away)
    assert door.ask(by_name("delete"), f"Bearer {text_of('viewer')}").status_code == 403


def _away(*_: object) -> None:
    raise TransientError("the broker is away")


def test_the_owner_may_do_everything_under_his_own_name(door: Door) -> None:
    for operation in OPERATIONS:
        assert door.ask(operation, f"Bearer {OWNER}").status_code == 200, operation.name


def test_a_request_that_is_not_one_is_refused_in_the_same_shape_and_not_read_for_strangers() -> None:
    door = Door()
    client = door.client
    owner = {"Authorization": f"Bearer {OWNER}", "Millrace-User": "me"}
    for path in ("/v1/processes/rain/scorer/x/logs", "/v1/processes/rain/scorer/0/logs?lines=0"):
        answer = client.get(path, headers=owner)
        assert (answer.status_code, set(answer.json())) == (422, {"error", "remedy"})
    assert client.put("/v1/deployments/rain", headers=owner, content=b"{").status_code == 422
    assert door.refusals.noted == [("me", "put")], "what only looks is no matter of the history"
    assert client.put("/v1/deployments/rain", content=b"{").status_code == 401


def test_the_owner_has_the_name_that_he_says_but_no_key_s() -> None:
    client = Door().client
    for said, who in (("kay@hill", "kay@hill"), ("key/viewer", "owner"), ("token/kay", "owner"), ("", "owner")):
        asked = {"Authorization": f"Bearer {OWNER}", "Millrace-User": said}
        assert client.get("/v1/caller", headers=asked).json() == {"who": who, "role": "admin"}


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


@pytest.mark.parametrize(("host", "is_so"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("", False)])  # noqa: S104
def test_loopback_is_what_only_this_machine_reaches(host: str, *, is_so: bool) -> None:
    assert is_loopback(host) is is_so


def test_settings_come_from_the_environment_and_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAUNCHER__NODE", "b")
    monkeypatch.setenv("MILLRACE_LAUNCHER__TOKEN", "secret")
    found = LauncherSettings.load(port=7)
    assert (found.node, found.port, found.host) == ("b", 7, "127.0.0.1")
    assert "secret" not in repr(found)
    monkeypatch.setenv("MILLRACE_LAUNCHER__NODE", "Not A Name")
    with pytest.raises(RequestError, match="MILLRACE_LAUNCHER__NODE"):
        LauncherSettings.load()
