"""No secret of the settings gets anywhere: a story of all services, and a search of everything that it left.

What is searched: every record of every topic, logs and files of the fleet's folder, command lines and titles of all
processes, what commands printed, what doors answered, and the pages and metrics of each process. The same search finds
a bait in each.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import numpy as np
import psutil
import pytest
import redis
import websockets.sync.client as ws
import yaml
from cryptography.hazmat.primitives import serialization
from fleet_stage import Stage, stage
from gateway_stage import free_port
from websockets.exceptions import InvalidStatus

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.client.node import node_status
from millrace.core.control.keys import key_text
from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.certificates import Identity
from millrace.testing.identity_provider import AUDIENCE, signed, signing_key, with_public_key_as_secret
from millrace.testing.models import linear_bundle
from millrace.testing.redis import temporary_redis
from millrace.testing.secured import PASSWORD, USER, Door, SecuredBroker, secured_broker
from millrace.testing.waiting import eventually

PATIENCE: Final = timedelta(seconds=180)
BAIT: Final = "bait-that-must-be-found"
KEY_PASSWORD: Final = "hush-of-the-key"  # noqa: S105 -- of nothing but this test, as all below
REDIS_PASSWORD: Final = "hush-of-the-store"  # noqa: S105
OWNER: Final = "hush-of-the-owner"
LAKE_KEY: Final = "hush-key-of-the-lake"
LAKE_SECRET: Final = "hush-secret-of-the-lake"  # noqa: S105
WRONG: Final = {name: f"hush-wrong-{name}" for name in ("kafka", "redis", "client", "url", "key", "lake")}
"""Secrets that are refused: what says so must not repeat them."""
ROLES: Final = {"the owners": "admin"}
"""Of the identity provider's tokens."""

SECRETS: Final = (PASSWORD, KEY_PASSWORD, REDIS_PASSWORD, OWNER, LAKE_KEY, LAKE_SECRET, *WRONG.values())
"""`PASSWORD` is both the password at the broker and the secret of the OAuth client."""

DOCUMENT: Final = {
    "deployment": "rain",
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "scale": {"scorers": 1, "auditors": 1, "gateways": 1, "materializers": 1, "cores": 0.1},
}
TRAINING: Final = {
    "model": "rain-model",
    "source": {"topic": "rain.features"},
    "labels": "rain.labels",
    "function": {"name": "nothing:train"},
}
KINDS: Final = ("scorer", "auditor", "gateway", "materializer", "trainer")


@dataclass
class Story:
    """Everything that secrets could have got to."""

    broker: SecuredBroker
    fleet: Stage
    capture: pytest.CaptureFixture[str]
    printed: list[str] = field(default_factory=list)
    planted: list[str] = field(default_factory=lambda: list(SECRETS))

    def plant(self, text: str) -> str:
        """A key or a token, whose last part is the secret of it."""
        self.planted.append(re.split("[._]", text)[-1])
        return text

    def token(self, **changes: object) -> str:
        """A token of an owner, planted."""
        provider = self.broker.provider
        claims = {"iss": provider.url, "roles": [*ROLES], **changes}
        return self.plant(signed(provider.claims("kay", **claims), provider.signing["first"]))

    def command(self, *words: str) -> int:
        """Run a command of `millrace`, and keep what it printed."""
        code = run(words)
        said = self.capture.readouterr()
        self.printed += [said.out, said.err]
        return code

    def written(self) -> Iterator[tuple[str, str, bytes]]:
        """The kind of a place, its name, and what is there."""
        for topic in Admin(self.broker.kafka).topic_names():
            with Reader(self.broker.kafka, topic) as reader:
                for batch in reader:
                    for row in zip(batch.keys, batch.values, batch.headers, strict=True):
                        yield "topic", topic, repr(row).encode()
        for folder, _, names in os.walk(self.fleet.home):
            for path in (Path(folder) / name for name in names):
                if path.name == "launch.json":  # What a process is started with: for its owner's eyes alone.
                    assert path.stat().st_mode & 0o077 == 0
                    continue
                with suppress(OSError):  # a socket, or gone by now
                    yield "file", str(path), path.read_bytes()
        for process in psutil.process_iter(["cmdline", "name"]):
            title = [process.info["name"] or "", *(process.info["cmdline"] or [])]
            yield "process", str(process.pid), " ".join(title).encode()
        for name, content in self._pages():
            yield "page", name, content
        for text in self.printed:
            yield "output", text[:100], text.encode()

    def _pages(self) -> Iterator[tuple[str, bytes]]:
        url = node_status(self.fleet.home, node="a").url or ""
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {OWNER}"}, timeout=60) as client:
            slots = [f"rain/{kind}/0" for kind in KINDS]
            paths = ["/v1/metrics", *(f"/v1/metrics?slot={slot}" for slot in slots)]
            paths += [f"/v1/processes/{slot}/logs" for slot in slots]
            paths += ["/v1/history", "/v1/processes", "/v1/nodes", "/v1/deployments", "/v1/deployments/rain/why"]
            paths += ["/v1/keys", "/openapi.json"]
            for path in paths:
                yield path, client.get(path).raise_for_status().content
        with httpx.Client(base_url=gateway_url(), headers=shown(self.token()), timeout=60) as client:
            for path in ("/metrics", "/openapi.json", "/v2"):
                yield path, client.get(path).raise_for_status().content


def places(text: str, written: Sequence[tuple[str, str, bytes]]) -> list[tuple[str, str]]:
    """Where a text is."""
    return [(kind, name) for kind, name, content in written if text.encode() in content]


def gateway_url() -> str:
    return f"http://127.0.0.1:{os.environ['MILLRACE_GATEWAY__REST__PORT']}"


def shown(text: str) -> dict[str, str]:
    """The header that shows a key or a token."""
    return {"authorization": f"Bearer {text}"}


def environment(broker: SecuredBroker, folder: Path, redis_url: str, ports: tuple[int, int]) -> Mapping[str, str]:
    """What all services and commands read; two secrets lie in files, the others here."""
    password = folder / "kafka-password"
    password.write_text(PASSWORD)
    way = broker.by(Door.PASSWORD)
    return {
        "MILLRACE_KAFKA__BOOTSTRAP": way.bootstrap,
        "MILLRACE_KAFKA__SECURITY_PROTOCOL": "sasl_ssl",
        "MILLRACE_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "MILLRACE_KAFKA__SASL_USERNAME": USER,
        "MILLRACE_KAFKA__SASL_PASSWORD_FILE": str(password),
        "MILLRACE_KAFKA__SSL_CA": str(broker.authority.file),
        "MILLRACE_REDIS__URL": redis_url,
        "MILLRACE_REDIS__PASSWORD": REDIS_PASSWORD,
        "MILLRACE_LAUNCHER__TOKEN": OWNER,
        "MILLRACE_CREDENTIALS__LAKE": json.dumps({"key": LAKE_KEY, "secret": LAKE_SECRET}),
        "MILLRACE_GATEWAY__REST__PORT": str(ports[0]),
        "MILLRACE_GATEWAY__GRPC__PORT": str(ports[1]),
        "MILLRACE_GATEWAY__KEYS": "required",
        **{
            f"MILLRACE_{door}__OIDC__{name}": value
            for door in ("GATEWAY", "LAUNCHER")
            for name, value in {
                "ISSUER": broker.provider.url,
                "AUDIENCE": AUDIENCE,
                "ROLES": json.dumps(ROLES),
                "ALLOW_PRIVATE_HOSTS": "true",
            }.items()
        },
        "MILLRACE_LOG__LEVEL": "debug",
    }


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Story]:
    """A fleet of one node, with a deployment of every service, at a broker and a store that ask for passwords."""
    home, secrets = tmp_path / "home", tmp_path / "secrets"
    home.mkdir()
    secrets.mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(secured_broker(tmp_path / "broker"))
        store = stack.enter_context(temporary_redis())
        with redis.Redis.from_url(store.settings.url) as admin:
            admin.config_set("requirepass", REDIS_PASSWORD)  # On its command line everybody would see it.
        for name, value in environment(broker, secrets, store.settings.url, (free_port(), free_port())).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MILLRACE_HOME", str(home))
        Admin(broker.kafka).ensure_topics([TopicSpec("rain.features"), TopicSpec("rain.labels")])
        with Registry(broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
            registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
        training = tmp_path / "training.yaml"
        training.write_text(yaml.safe_dump(TRAINING))
        fleet = stack.enter_context(stage(broker.entered(Door.PASSWORD), home))
        made = Story(broker, fleet, capsys)
        fleet.start("a")
        with control(fleet) as asked:
            asked.put("rain", {**DOCUMENT, "scale": {**DOCUMENT["scale"], "training": str(training)}})  # type: ignore[dict-item]
        eventually(lambda: is_ready(fleet), within=PATIENCE, what="all services of the deployment")
        yield made


@contextmanager
def control(fleet: Stage) -> Iterator[ControlClient]:
    with ControlClient(node_status(fleet.home, node="a").url, token=OWNER) as asked:
        yield asked


def is_ready(fleet: Stage) -> bool:
    with suppress(MillraceError), control(fleet) as asked:
        return bool(asked.deployment("rain")["state"] == "ready")
    return False


def locked(identity: Identity) -> Path:
    """The key, under a password."""
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    file = identity.key.with_suffix(".locked")
    form, lock = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(KEY_PASSWORD.encode())
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    return file


def score(story: Story) -> None:
    """A record through the scorer, and a request through the gateway."""
    with Writer(story.broker.kafka) as writer:
        value = b'{"a": 0.5, "b": -1.25, "c": 3}'
        writer.write(
            OutputBatch("rain.features", np.zeros(1, np.int32), np.array([1_700_000_000_000]), [b"k"], [value])
        )
    tensor = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    where, token = f"{gateway_url()}/v2/models/rain/infer", story.token()
    asked = httpx.post(where, json={"inputs": [tensor]}, headers=shown(token), timeout=60)
    assert asked.status_code == 200, asked.text
    eventually(lambda: len(predictions(story)) == 2, within=PATIENCE, what="both predictions")


def predictions(story: Story) -> list[bytes | None]:
    with Reader(story.broker.kafka, "rain.predictions") as reader:
        return [value for batch in reader for value in batch.values]


def come_in_by_the_other_doors(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """By token, and by a certificate whose key has a password."""
    oauth = {"TOKEN_URL": story.broker.provider.token_url, "CLIENT_ID": USER, "CLIENT_SECRET": PASSWORD}
    ways = {
        Door.TOKEN: {
            "SECURITY_PROTOCOL": "sasl_ssl",
            "SASL_MECHANISM": "OAUTHBEARER",
            **{f"OAUTH__{name}": value for name, value in oauth.items()},
        },
        Door.CERTIFICATE: {
            "SECURITY_PROTOCOL": "ssl",
            "SSL_CERTIFICATE": str(story.broker.mine.certificate),
            "SSL_KEY": str(locked(story.broker.mine)),
            "SSL_KEY_PASSWORD": KEY_PASSWORD,
        },
    }
    for door, way in ways.items():
        with monkeypatch.context() as changed:
            for name in ("SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD_FILE"):
                changed.delenv(f"MILLRACE_KAFKA__{name}")
            for name, value in {"BOOTSTRAP": story.broker.by(door).bootstrap, **way}.items():
                changed.setenv(f"MILLRACE_KAFKA__{name}", value)
            assert story.command("model", "list") == 0, story.printed[-1]


def show_tokens(story: Story) -> None:
    """Tokens at every door, over each way in: one that is good, and what doors refuse."""
    provider = story.broker.provider
    text = key_text("nobody", "hush-of-nobody".ljust(43, "x"))
    worthless = (
        story.token(exp=1),
        story.token(aud="somebody"),
        story.token(iss="https://elsewhere.test"),
        story.plant(signed(provider.claims("kay", iss=provider.url), signing_key("first"))),
        story.plant(with_public_key_as_secret(provider.claims("kay", iss=provider.url), provider.signing["first"])),
        story.plant(text),
        story.token()[:-20],
    )
    story.planted.append("hush-of-nobody")
    nobody_s = story.token(roles=["the guests"])
    for door in (ask_rest, ask_grpc, ask_websocket, ask_page, sign_in, ask_daemon):
        assert door(story, story.token()) in LET_IN, door
        for each in (*worthless, nobody_s):
            assert door(story, each) not in LET_IN, door


LET_IN: Final = frozenset({200, 101, 404, grpc.StatusCode.OK})
"""What doors say to who was let in; a page of something that is not there among it."""


def ask_rest(story: Story, token: str) -> int:
    answer = httpx.get(f"{gateway_url()}/v2", headers=shown(token), timeout=60)
    story.printed.append(answer.text)
    return answer.status_code


def ask_grpc(story: Story, token: str) -> grpc.StatusCode:
    with grpc.insecure_channel(f"127.0.0.1:{os.environ['MILLRACE_GATEWAY__GRPC__PORT']}") as channel:
        live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive"
        )
        try:
            live(b"", timeout=60, metadata=tuple(shown(token).items()))
        except grpc.RpcError as refused:
            story.printed.append(str(refused))
            return refused.code()
    return grpc.StatusCode.OK


def ask_websocket(story: Story, token: str) -> int:
    where = f"{gateway_url().replace('http', 'ws')}/v1/deployments/rain/predictions"
    try:
        with ws.connect(where, additional_headers=shown(token)) as opened:
            return opened.response.status_code if opened.response else 0
    except InvalidStatus as refused:
        story.printed += [str(refused), (refused.response.body or b"").decode()]
        return refused.response.status_code


def ask_page(story: Story, token: str) -> int:
    return asked_of_the_node(story, "GET", "/deployments/rain", headers=shown(token))


def sign_in(story: Story, token: str) -> int:
    return asked_of_the_node(story, "POST", "/sign-in", json={"key": token})


def ask_daemon(story: Story, token: str) -> int:
    return asked_of_the_node(story, "GET", "/v1/nodes", headers=shown(token))


def asked_of_the_node(story: Story, method: str, path: str, **request: Any) -> int:  # noqa: ANN401 -- httpx's
    url = node_status(story.fleet.home, node="a").url or ""
    answer = httpx.request(method, url + path, timeout=60, **request)
    story.printed.append(answer.text)
    return answer.status_code


def be_refused(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error that a secret can be behind."""
    refusals: tuple[tuple[str, dict[str, str | None]], ...] = (
        ("model list", {"KAFKA__SASL_PASSWORD": WRONG["kafka"], "KAFKA__SASL_PASSWORD_FILE": ""}),
        ("model list", {"KAFKA__SASL_PASSWORD": WRONG["kafka"]}),
        ("model list", {"REDIS__URL": f"redis://user:{WRONG['url']}@127.0.0.1:1"}),
        ("model list", {"KAFKA__OAUTH__CLIENT_SECRET": WRONG["client"]}),
        ("nodes", {"LAUNCHER__TOKEN": WRONG["key"], "LAUNCHER__URL": node_status(story.fleet.home, node="a").url}),
        ("batch run --model rain-model --input s3://lake/in.parquet --output o --credentials lake", {}),
        (
            "batch run --model rain-model --input s3://lake/in.parquet --output o --credentials lake",
            {"CREDENTIALS__LAKE": f"{{ {WRONG['lake']}"},
        ),
        ("copy s3://lake/in.parquet kafka://rain.features --from-credentials lake", {}),
    )
    for words, settings in refusals:
        with monkeypatch.context() as changed:
            for name, value in settings.items():
                changed.setenv(f"MILLRACE_{name}", str(value))
            assert story.command(*words.split()) != 0, words
    with monkeypatch.context() as changed:
        changed.setenv("MILLRACE_REDIS__PASSWORD", WRONG["redis"])
        story.command("doctor")


def lay_bait(story: Story) -> None:
    """One in a place of each kind but the processes: a header of a record, a file, a page, what a command printed."""
    with Writer(story.broker.kafka) as writer:
        when = np.array([1_700_000_000_000])
        headers = [[("h", BAIT.encode())]]
        writer.write(OutputBatch("rain.labels", np.zeros(1, np.int32), when, [None], [None], headers))
    (story.fleet.home / "nodes" / "bait.log").write_text(BAIT)
    with control(story.fleet) as asked:
        asked.create_key(BAIT)
    assert story.command("history") == 0


def test_no_secret_of_the_settings_gets_anywhere_and_the_search_would_find_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(story)
    with control(story.fleet) as asked:
        story.plant(str(asked.create_key("somebody", role="viewer")["key"]))
    show_tokens(story)
    come_in_by_the_other_doors(story, monkeypatch)
    be_refused(story, monkeypatch)
    lay_bait(story)
    waiting = [sys.executable, "-c", "import sys; sys.stdin.read()", BAIT]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE):
        written = list(story.written())
    for text in story.broker.provider.given:
        story.plant(text)
    kinds = Counter(kind for kind, *_ in written)
    size = sum(len(content) for *_, content in written)
    sys.stderr.write(f"{len(story.planted)} secrets are looked for in {size:,} bytes: {dict(kinds)}\n")
    assert {kind for kind, _ in places(BAIT, written)} == {"topic", "file", "process", "page", "output"}
    assert [found for secret in story.planted for found in places(secret, written)] == []
    assert story.fleet.stop("a") == [0]
    logs = {path: path.read_text() for path in story.fleet.home.rglob("*.log")}
    assert [path for path, said in logs.items() if any(each in said for each in story.planted)] == [], "said last"
