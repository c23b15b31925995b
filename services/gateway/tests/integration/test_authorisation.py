"""Who may do what: every operation of each door, with every kind of key and of token.

The tables below are the declaration. They are compared with the routes and the calls of the servers that run, and with
the OpenAPI document, so that an operation that nobody declared a role for fails here.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import grpc
import httpx
import pytest
import websockets.sync.client as ws
from fastapi import FastAPI
from gateway_stage import GatewayStage
from grpc.aio._server import Server
from scorer_stream import Stream
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from websockets.exceptions import InvalidStatus

from millrace.core.control.keys import ApiKey, Role, digest_of, key_text
from millrace.kafka.control_writer import KEYS_TOPIC, Change, ControlWriter, Put
from millrace.process.clock import SystemClock
from millrace.process.keys import KEYS
from millrace.process.settings import Settings
from millrace.telemetry.gateway import PROVIDER_KEYS_AGE
from millrace.testing.broker import Broker
from millrace.testing.identity_provider import (
    AUDIENCE,
    ISSUER,
    IdentityProvider,
    identity_provider,
    signed,
    signing_key,
    token_part,
    with_public_key_as_secret,
)
from millrace.testing.waiting import eventually
from millrace_gateway.adapters.rest.doors import RestDoor, application

ASK: Final = b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}'
TUS: Final = {"tus-resumable": "1.0.0"}
PIECE: Final = {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
Status = grpc.StatusCode


@dataclass(frozen=True)
class Declared:
    """What is declared of an operation over HTTP.

    Attributes:
        role: The least that it takes; None where nobody is asked for a key.
        answer: The status for whoever has it, for the request that is sent here.
        content: The body.
        headers: Beside the key.
    """

    role: Role | None
    answer: int = HTTPStatus.OK
    content: bytes = b""
    headers: Mapping[str, str] | None = None


VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR

OPERATIONS: Final[Mapping[str, Declared]] = {
    "GET /v2/health/live": Declared(None),
    "GET /v2/health/ready": Declared(None),
    "GET /v2": Declared(VIEWER),
    "GET /metrics": Declared(VIEWER),
    "GET /v2/models/stats": Declared(VIEWER),
    "GET /v2/models/{model}": Declared(VIEWER),
    "GET /v2/models/{model}/versions/{version}": Declared(VIEWER),
    "GET /v2/models/{model}/ready": Declared(VIEWER),
    "GET /v2/models/{model}/versions/{version}/ready": Declared(VIEWER),
    "GET /v2/models/{model}/config": Declared(VIEWER),
    "GET /v2/models/{model}/versions/{version}/config": Declared(VIEWER),
    "GET /v2/models/{model}/stats": Declared(VIEWER),
    "GET /v2/models/{model}/versions/{version}/stats": Declared(VIEWER),
    "POST /v2/models/{model}/infer": Declared(VIEWER, content=ASK),
    "POST /v2/models/{model}/versions/{version}/infer": Declared(VIEWER, content=ASK),
    "POST /v2/repository/index": Declared(VIEWER),
    "POST /v2/repository/models/{model}/load": Declared(OPERATOR),
    "POST /v2/repository/models/{model}/unload": Declared(OPERATOR, HTTPStatus.NOT_FOUND),
    "GET /v1/deployments/{deployment}/entities/{key}": Declared(VIEWER, HTTPStatus.SERVICE_UNAVAILABLE),
    "GET /v1/deployments/{deployment}/predictions": Declared(VIEWER, HTTPStatus.NOT_FOUND),
    "POST /v1/streams/{stream}/events": Declared(OPERATOR, HTTPStatus.NOT_FOUND, b"{}"),
    "POST /v1/streams/{stream}/labels": Declared(OPERATOR, HTTPStatus.NOT_FOUND, b"{}"),
    "OPTIONS /v1/uploads": Declared(VIEWER, HTTPStatus.NO_CONTENT),
    "POST /v1/uploads": Declared(OPERATOR, HTTPStatus.CREATED, headers={**TUS, "upload-length": "3"}),
    "HEAD /v1/uploads/{name}": Declared(VIEWER, HTTPStatus.NOT_FOUND, headers=TUS),
    "PATCH /v1/uploads/{name}": Declared(OPERATOR, HTTPStatus.NOT_FOUND, headers=PIECE),
    "DELETE /v1/uploads/{name}": Declared(OPERATOR, HTTPStatus.NOT_FOUND, headers=TUS),
}

UNDESCRIBED: Final[Mapping[str, Declared]] = {
    "GET /docs": Declared(VIEWER),
    "GET /openapi.json": Declared(VIEWER),
    "HEAD /openapi.json": Declared(VIEWER),
}
"""About the API, and not in its document."""

SOCKETS: Final = ("/v1/deployments/{deployment}/predictions",)
"""For viewers."""

OPEN_CALLS: Final = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Nobody is asked for a key."""

CALLS: Final[Mapping[str, Role]] = {
    "/inference.GRPCInferenceService/ServerLive": VIEWER,
    "/inference.GRPCInferenceService/ServerReady": VIEWER,
    "/inference.GRPCInferenceService/ServerMetadata": VIEWER,
    "/inference.GRPCInferenceService/ModelReady": VIEWER,
    "/inference.GRPCInferenceService/ModelMetadata": VIEWER,
    "/inference.GRPCInferenceService/ModelInfer": VIEWER,
    "/inference.GRPCInferenceService/ModelStreamInfer": VIEWER,
    "/inference.GRPCInferenceService/ModelConfig": VIEWER,
    "/inference.GRPCInferenceService/ModelStatistics": VIEWER,
    "/inference.GRPCInferenceService/RepositoryIndex": VIEWER,
    "/inference.GRPCInferenceService/RepositoryModelLoad": OPERATOR,
    "/inference.GRPCInferenceService/RepositoryModelUnload": OPERATOR,
    "/millrace.v1.Predictions/Subscribe": VIEWER,
}

ANSWERS: Final[Mapping[str, grpc.StatusCode]] = {
    "ServerLive": Status.OK,
    "ServerReady": Status.OK,
    "ServerMetadata": Status.OK,
    "ModelReady": Status.OK,
    "ModelStreamInfer": Status.OK,  # an error belongs to its message
    "ModelStatistics": Status.OK,
    "RepositoryIndex": Status.OK,
}
"""How a call with an empty message ends for whoever may make it; the others find nothing of no name."""


class MinutesPass(SystemClock):
    """A clock that is set forward before every attempt, or wrong keys are said to come too often."""

    ahead_secs = 0.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return super().monotonic() + self.ahead_secs


@dataclass(frozen=True)
class Guarded:
    """A gateway that asks for keys or tokens, and those of all kinds by their names."""

    stage: GatewayStage
    clock: MinutesPass
    name: str
    keys: Mapping[str, str]
    client: httpx.Client
    channel: grpc.Channel
    served: "Served"

    def request(self, operation: str, key: str) -> int:
        """The status of an operation's answer."""
        self.clock.ahead_secs += 60
        method, path = operation.split()
        declared = {**OPERATIONS, **UNDESCRIBED}[operation]
        model = "nothing" if path.endswith("/unload") else self.name
        path = path.format(model=model, version=1, deployment="nobody", stream=self.name * 2, key="k", name="u" * 32)
        headers = {**(declared.headers or {}), **self.shown(key)}
        return self.client.request(method, path, content=declared.content, headers=headers).status_code

    def call(self, method: str, key: str) -> grpc.StatusCode:
        """How a call with an empty message ends."""
        self.clock.ahead_secs += 60
        ask: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(method)
        outcome = ask(iter([b""]), timeout=30, metadata=tuple(self.shown(key).items()))
        with suppress(grpc.RpcError):  # the status is known once all answers are read
            list(outcome)
        return outcome.code()

    def shown(self, key: str) -> dict[str, str]:
        """The header that shows a key."""
        return {"authorization": f"Bearer {self.keys[key]}"} if self.keys[key] else {}


@dataclass(frozen=True)
class Served:
    """What the servers of a gateway answer, as these themselves were told it."""

    routes: list[BaseRoute] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what servers are told that are made inside."""
        make, add = application, Server.add_generic_rpc_handlers
        add_known = Server.add_registered_method_handlers

        def made(doors: Sequence[RestDoor]) -> ASGIApp:
            found = make(doors)
            assert isinstance(found, FastAPI)
            included: list[Any] = [each for each in found.routes if hasattr(each, "original_router")]
            assert [each.original_router for each in included] == [door.router for door in doors]
            self.routes.extend(each for each in found.routes if each not in included)
            self.routes.extend(route for door in doors for route in door.router.routes)
            return found

        def added(server: Server, handlers: Sequence[Any]) -> None:
            self.calls.extend(method for each in handlers for method in each._method_handlers)
            add(server, handlers)

        def added_known(server: Server, service: str, handlers: dict[str, Any]) -> None:
            self.calls.extend(f"/{service}/{method}" for method in handlers)
            add_known(server, service, handlers)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("millrace_gateway.app.application", made)
            patched.setattr(Server, "add_generic_rpc_handlers", added)
            patched.setattr(Server, "add_registered_method_handlers", added_known)
            yield


ROLES: Final[Mapping[str, Role]] = {
    **{role.value: role for role in Role},
    **{f"{role.value} by token": role for role in Role},
}
WORTHLESS: Final = (
    "none",
    "wrong",
    "unknown",
    "expired",
    "revoked",
    "expired token",
    "revoked token",
    "token for another audience",
    "token of another issuer",
    "token of a wrong algorithm",
    "token without an algorithm",
)


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider({}) as running:
        running.signing["retired"] = signing_key("retired", "ES256")
        yield running


def tokens(provider: IdentityProvider) -> Mapping[str, str]:
    """Tokens by what they are; those that are worth nothing would open everything."""

    def token(role: Role = Role.ADMIN, **claims: object) -> Mapping[str, object]:
        return provider.claims("kay", **{"iss": provider.url, "roles": [f"the {role}s"], **claims})

    first, retired = provider.signing["first"], provider.signing["retired"]
    return {
        **{f"{role} by token": signed(token(role), first) for role in Role},
        "expired token": signed(token(exp=1), first),
        "revoked token": signed(token(), retired),
        "token for another audience": signed(token(aud="somebody"), first),
        "token of another issuer": signed(token(iss=ISSUER), first),
        "token of a wrong algorithm": with_public_key_as_secret(token(), first),
        "token without an algorithm": f"{token_part({'alg': 'none', 'kid': 'first'})}.{token_part(token())}.",
    }


@pytest.fixture(scope="module")
def keys(broker: Broker) -> Iterator[Mapping[str, str]]:
    """Texts of keys that lie on the log, by what they are; all are revoked at the end."""
    run = uuid.uuid4().hex[:8]
    texts = {each: key_text(f"{each}-{run}", each[0] * 43) for each in (*map(str, Role), "expired", "revoked")}
    found = {
        each: ApiKey(f"{each}-{run}", ROLES.get(each, Role.ADMIN), digest_of(text), 0, "test")
        for each, text in texts.items()
    }
    found["expired"] = replace(found["expired"], expires_ms=1)
    found["revoked"] = replace(found["revoked"], revoked_ms=1)
    write(broker, found.values())
    yield {
        **texts,
        "none": "",
        "wrong": key_text(f"admin-{run}", "x" * 43),
        "unknown": key_text(f"nobody-{run}", "n" * 43),
    }
    write(broker, [replace(each, revoked_ms=1) for each in found.values()])


def write(broker: Broker, keys: Iterable[ApiKey]) -> None:
    change = Change([Put(KEYS_TOPIC, each.name, KEYS.write(each)) for each in keys], "")
    with ControlWriter(broker.kafka, who="test", topics=(KEYS_TOPIC,)) as writer:
        writer.apply("keys/matrix", "write keys", lambda _: change)


@pytest.fixture(scope="module")
def guarded(
    broker: Broker, keys: Mapping[str, str], provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """A gateway that asks for keys or tokens, and knows these."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    stream = Stream(broker, settings, f"g-{uuid.uuid4().hex[:10]}")
    stream.push(settings.home / "bundle")
    stage, clock = GatewayStage(broker, settings), MinutesPass()
    options = stage.options(keys="required", oidc=oidc(provider))
    shown, served = {**keys, **tokens(provider)}, Served()
    with (
        served.listening(),
        stage.running(stream.deployment(), options=options, clock=clock) as client,
        grpc.insecure_channel(stage.target) as channel,
    ):
        found = Guarded(stage, clock, stream.name, shown, client, channel, served)
        eventually(lambda: found.request("GET /v2", "admin") == HTTPStatus.OK, what="the keys")
        assert found.request("GET /v2", "revoked token") == HTTPStatus.OK, "before it is"
        del provider.signing["retired"]
        eventually(
            lambda: found.request("GET /v2", "revoked token") == HTTPStatus.UNAUTHORIZED,
            within=timedelta(seconds=60),
            what="the provider's keys, anew",
        )
        yield found


def oidc(provider: IdentityProvider) -> Mapping[str, object]:
    """Settings for the provider; its keys are asked for every second, and hold however the test's clock runs."""
    return {
        "issuer": provider.url,
        "audience": AUDIENCE,
        "allow_private_hosts": True,
        "roles": {f"the {role}s": role for role in Role},
        "refresh_secs": 1,
        "retry_secs": 1,
        "hold_secs": 604_800,
    }


def test_every_route_is_declared(guarded: Guarded) -> None:
    found = set()
    for route in guarded.served.routes:
        if isinstance(route, WebSocketRoute):
            assert route.path in SOCKETS
            continue
        assert isinstance(route, Route), f"{route} answers what nobody can list"
        found |= {f"{method} {route.path_format}" for method in route.methods or ()}
    assert found == {*OPERATIONS, *UNDESCRIBED}


def test_every_operation_of_the_document_is_declared(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.stage.url, headers=guarded.shown("viewer")) as client:
        paths = client.get("/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, item in paths.items() for method in item}
    assert found == set(OPERATIONS)


def test_every_call_is_declared(guarded: Guarded) -> None:
    assert set(guarded.served.calls) == {*CALLS, *OPEN_CALLS}


def test_the_age_of_the_provider_s_keys_is_a_metric(guarded: Guarded) -> None:
    exposed = guarded.client.get("/metrics", headers=guarded.shown("viewer")).text
    [sample] = [line for line in exposed.splitlines() if line.startswith(PROVIDER_KEYS_AGE.name)]
    assert float(sample.split()[-1]) > 0, "it grows until the provider answers again"


@pytest.mark.parametrize("operation", [*OPERATIONS, *UNDESCRIBED])
def test_an_operation_over_http_is_for_its_role_and_those_above(guarded: Guarded, operation: str) -> None:
    declared = {**OPERATIONS, **UNDESCRIBED}[operation]
    statuses = {key: guarded.request(operation, key) for key in (*WORTHLESS, *ROLES)}
    needs = declared.role
    if needs is None:
        assert statuses == dict.fromkeys(statuses, declared.answer)
        return
    assert statuses == {
        **dict.fromkeys(WORTHLESS, HTTPStatus.UNAUTHORIZED),
        **{name: declared.answer if role.includes(needs) else HTTPStatus.FORBIDDEN for name, role in ROLES.items()},
    }


@pytest.mark.parametrize("method", CALLS)
def test_a_call_is_for_its_role_and_those_above(guarded: Guarded, method: str) -> None:
    answer = ANSWERS.get(method.rpartition("/")[2], Status.NOT_FOUND)
    codes = {key: guarded.call(method, key) for key in (*WORTHLESS, *ROLES)}
    assert codes == {
        **dict.fromkeys(WORTHLESS, Status.UNAUTHENTICATED),
        **{name: answer if role.includes(CALLS[method]) else Status.PERMISSION_DENIED for name, role in ROLES.items()},
    }


@pytest.mark.parametrize("key", [*WORTHLESS, *ROLES])
def test_a_websocket_opens_for_whoever_may_read(guarded: Guarded, key: str) -> None:
    guarded.clock.ahead_secs += 60
    url = f"ws://127.0.0.1:{guarded.stage.rest_port}/v1/deployments/{guarded.name}/predictions"
    if key in ROLES:
        with ws.connect(url, additional_headers=guarded.shown(key)):
            return
    with pytest.raises(InvalidStatus) as refused:
        ws.connect(url, additional_headers=guarded.shown(key))
    assert refused.value.response.status_code == HTTPStatus.UNAUTHORIZED
