"""Daemons whose REST API and web UI speak TLS: asked by commands, by a browser, by each other and by themselves."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import Shutdown
from millrace.process.settings import Settings
from millrace.process.tls import ClientTls, ServerTls
from millrace.testing.broker import Broker, temporary_broker
from millrace.testing.certificates import Authority
from millrace.testing.identity_provider import AUDIENCE, identity_provider
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_launcher.adapters.place import own_token
from millrace_launcher.app import Daemon
from millrace_launcher.settings import LauncherSettings

pytestmark = pytest.mark.filterwarnings(
    # FastAPI silences this one for itself, with `catch_warnings`, which knows no threads.
    "ignore::pydantic.warnings.UnsupportedFieldAttributeWarning"
)

PATIENCE: Final = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon in this process."""

    name: str
    settings: Settings

    @property
    def url(self) -> str:
        """Where it answers; nothing before it does."""
        with suppress(OSError, ValueError):
            return str(json.loads((self.settings.home / "nodes" / self.name / "daemon.json").read_text())["url"])
        return ""

    def hears(self, *names: str) -> bool:
        if not self.url:
            return False
        with suppress(MillraceError), self.control() as control:
            return {*names} <= {found["node"] for found in control.nodes()}
        return False

    def knows(self, deployment: str) -> bool:
        with self.control() as control:
            return deployment in {found["deployment"] for found in control.deployments()}

    def control(self, trust: ssl.SSLContext | None = None) -> ControlClient:
        token = own_token(self.settings.home)
        return ControlClient(self.url, token=token, trust=trust or self.settings.tls.context())


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """One for these tests: their nodes and deployments are nobody else's business."""
    with temporary_broker() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates", "authority")


@contextmanager
def node(
    name: str,
    broker: Broker,
    home: Path,
    authority: Authority,
    *,
    asks: bool,
    oidc: Mapping[str, object] | None = None,
) -> Iterator[Node]:
    """A daemon at work, which asks its clients for certificates where told to, and takes tokens where told of whom."""
    identity = authority.issue(name)
    settings = Settings(home=home, tls=ClientTls(ca=authority.file, certificate=identity.certificate, key=identity.key))
    tls = ServerTls(certificate=identity.certificate, key=identity.key, client_ca=authority.file if asks else None)
    own = LauncherSettings.load(node=name, port=0, tls=tls, oidc=oidc)
    with at_work(Daemon(settings, own, broker.kafka, clock=SystemClock()).run, name=name):
        yield Node(name, settings)


def test_daemons_ask_each_other_and_themselves_over_tls_with_certificates_on_both_sides(
    broker: Broker, authority: Authority, tmp_path: Path
) -> None:
    topic, home = "tls.features", tmp_path / "home"
    Admin(broker.kafka).ensure_topics([TopicSpec(topic)])
    with (
        node("a", broker, home, authority, asks=True) as a,
        node("b", broker, home, authority, asks=True) as b,
    ):
        eventually(lambda: a.hears("a", "b") and b.hears("a", "b"), within=PATIENCE, what="two nodes")
        with a.control() as control:
            control.put("tls", {"deployment": "tls", "source": {"topic": topic}, "model": "m", "scale": {"scorers": 0}})
            eventually(lambda: b.knows("tls"), within=PATIENCE, what="the deployment on the other node")
            assert control.sync_environment("tls", "b")["node"] == "b", "the other daemon was asked"
        with httpx.Client(base_url=a.url, verify=a.settings.tls.context(), timeout=60) as browser:
            signed_in = browser.post("/sign-in", json={"key": own_token(home)})
            assert "secure" in signed_in.headers["set-cookie"].lower()
            assert browser.get("/nodes").status_code == 200, "the daemon asks itself"
        stranger = ClientTls(ca=authority.file).context()
        with a.control(stranger) as control, pytest.raises(MillraceError):
            control.nodes()


def test_a_command_trusts_the_authority_that_is_named_and_no_other(
    broker: Broker,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with node("c", broker, tmp_path / "home", authority, asks=False) as a:
        eventually(lambda: a.hears("c"), within=PATIENCE, what="the node")
        monkeypatch.setenv("MILLRACE_HOME", str(a.settings.home))
        monkeypatch.setenv("MILLRACE_LAUNCHER__URL", a.url)
        assert run(["nodes"]) == 1
        said = capsys.readouterr().err
        assert "is not trusted" in said
        assert "MILLRACE_TLS__CA" in said
        monkeypatch.setenv("MILLRACE_TLS__CA", str(authority.file))
        assert run(["nodes"]) == 0
        monkeypatch.setenv("MILLRACE_TLS__CA", str(Authority(tmp_path / "others", "other").file))
        assert run(["nodes"]) == 1


def test_a_token_of_the_provider_signs_in_a_command_and_who_comes_through_a_proxy(
    broker: Broker,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with identity_provider({}) as provider:
        oidc = {
            "issuer": provider.url,
            "audience": AUDIENCE,
            "allow_private_hosts": True,
            "roles": {"millers": "operator"},
        }
        token = provider.token("kay", iss=provider.url, roles=["millers"])
        with node("d", broker, tmp_path / "home", authority, asks=False, oidc=oidc) as a:
            eventually(lambda: a.hears("d"), within=PATIENCE, what="the node")
            monkeypatch.setenv("MILLRACE_LAUNCHER__URL", a.url)
            monkeypatch.setenv("MILLRACE_TLS__CA", str(authority.file))
            monkeypatch.setenv("MILLRACE_KEY", token)
            assert run(["whoami"]) == 0
            assert "token/kay" in capsys.readouterr().out
            assert run(["keys", "list"]) == 1, "keys are for administrators"
            monkeypatch.setenv("MILLRACE_KEY", provider.token("kay", iss=provider.url, roles=["millers"], exp=1))
            assert run(["whoami"]) == 1
            assert "the token has expired" in capsys.readouterr().err
            shown = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=a.url, verify=a.settings.tls.context(), timeout=60, headers=shown) as browser:
                page = browser.get("/nodes")
                assert (page.status_code, 'title="token/kay"' in page.text) == (200, True)


def test_a_daemon_that_asks_for_certificates_must_have_one(
    broker: Broker, authority: Authority, tmp_path: Path
) -> None:
    identity = authority.issue("a")
    tls = ServerTls(certificate=identity.certificate, key=identity.key, client_ca=authority.file)
    own = LauncherSettings.load(node="a", port=0, tls=tls)
    daemon = Daemon(Settings(home=tmp_path / "home"), own, broker.kafka, clock=SystemClock())
    with pytest.raises(RequestError, match="has none to show"):
        daemon.run(Shutdown(clock=SystemClock()))


def test_the_environment_names_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAUNCHER__TLS__CERTIFICATE", "/a.pem")
    monkeypatch.setenv("MILLRACE_LAUNCHER__TLS__KEY", "/a.key")
    assert LauncherSettings.load().tls == ServerTls(certificate=Path("/a.pem"), key=Path("/a.key"))
