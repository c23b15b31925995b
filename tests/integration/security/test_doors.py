"""Services at each door of a broker that lets nobody in unknown, and what who is turned away is told."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from gateway_stage import GatewayStage, free_port
from scorer_stream import Stream

from millrace.client import ControlClient
from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.following import Follower
from millrace.kafka.reading import Reader
from millrace.kafka.tokens import ClientCredentials
from millrace.process.clock import SystemClock
from millrace.process.settings import KafkaSettings, OAuthSettings, Settings
from millrace.testing.certificates import Authority
from millrace.testing.identity_provider import IdentityProvider
from millrace.testing.running import at_work
from millrace.testing.secured import LATE, PASSWORD, USER, Door, EnteredBroker, SecuredBroker
from millrace.testing.waiting import eventually
from millrace_launcher.app import Daemon
from millrace_launcher.settings import LauncherSettings
from millrace_scorer.app import Scorer

GOOD: Final = b'{"a": 0.5, "b": -1.25, "c": 3}'
TOPIC: Final = "doors.features"
WRONG: Final = "bran"


@pytest.fixture
def stream(secured: SecuredBroker, settings: Settings, tmp_path: Path) -> Stream:
    made = Stream(secured, settings, f"d-{uuid.uuid4().hex[:10]}")
    made.push(tmp_path / "bundle")
    return made


@pytest.mark.parametrize("door", list(Door))
class TestServices:
    def test_a_scorer_scores(self, door: Door, secured: SecuredBroker, stream: Stream) -> None:
        stream.send([GOOD] * 3)
        scorer = Scorer(stream.settings, secured.by(door), stream.deployment(), slot=0, clock=SystemClock())
        with at_work(scorer.run, name="scorer"):
            stream.wait_for(3)

    def test_a_gateway_answers_and_streams(self, door: Door, secured: SecuredBroker, stream: Stream) -> None:
        deployment = stream.deployment()
        stage = GatewayStage(secured.entered(door), stream.settings)
        with stage.running(deployment) as client:
            row = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3]}
            answer = client.post(f"/v2/models/{stream.name}/infer", json={"inputs": [row]})
            assert answer.status_code == 200, answer.text
            where = f"/v1/deployments/{stream.name}/predictions"
            with client.stream("GET", where, params={"start": "earliest"}, timeout=120) as events:
                assert next(line for line in events.iter_lines() if line.startswith("data:"))


def test_a_launcher_works_by_token(secured: SecuredBroker, settings: Settings) -> None:
    port = free_port()
    daemon = Daemon(settings, LauncherSettings.load(node="n", port=port), secured.by(Door.TOKEN), clock=SystemClock())

    def is_listed() -> bool:
        with suppress(MillraceError), ControlClient(f"http://127.0.0.1:{port}", home=settings.home) as control:
            return [node["node"] for node in control.nodes()] == ["n"]
        return False

    with at_work(daemon.run, name="launcher"):
        eventually(is_listed, within=timedelta(seconds=60), what="the node's answer")


def oauth(provider: IdentityProvider, **changes: object) -> dict[str, object]:
    return {"token_url": provider.token_url, "client_id": USER, "client_secret": PASSWORD, **changes}


REFUSALS: Final[dict[str, tuple[Door, Callable[[SecuredBroker, Path], dict[str, object]], str, str]]] = {
    "a wrong password": (
        Door.PASSWORD,
        lambda _, __: {"sasl_password": WRONG},
        "refused the credentials",
        "__SASL_PASSWORD",
    ),
    "a mechanism that it does not have": (
        Door.PASSWORD,
        lambda _, __: {"sasl_mechanism": "SCRAM-SHA-256"},
        "supported mechanisms: SCRAM-SHA-512",
        "__SASL_MECHANISM",
    ),
    "an authority that signed nothing here": (
        Door.PASSWORD,
        lambda _, folder: {"ssl_ca": Authority(folder, "other").file},
        "certificate verify failed",
        "__SSL_CA",
    ),
    "a certificate that nobody trusts": (
        Door.CERTIFICATE,
        lambda _, folder: foreign(folder),
        "no secure connection",
        "__SSL_CERTIFICATE",
    ),
    "no certificate": (
        Door.CERTIFICATE,
        lambda _, __: {"ssl_certificate": None, "ssl_key": None},
        "no secure connection",
        "__SSL_CERTIFICATE",
    ),
    "a wrong secret": (
        Door.TOKEN,
        lambda broker, _: {"oauth": oauth(broker.provider, client_secret=WRONG)},
        "invalid_client",
        "__OAUTH",
    ),
    "a token that has expired": (
        Door.TOKEN,
        lambda broker, _: {"oauth": oauth(broker.provider, client_id=LATE)},
        "unexpired token",
        "__OAUTH",
    ),
}


def foreign(folder: Path) -> dict[str, object]:
    stranger = Authority(folder, "stranger").issue(USER, host=None)
    return {"ssl_certificate": stranger.certificate, "ssl_key": stranger.key}


def turned_away(case: str, secured: SecuredBroker, folder: Path) -> tuple[KafkaSettings, str, str]:
    door, changes, why, remedy = REFUSALS[case]
    return secured.by(door, **changes(secured, folder)), why, remedy


def follow(kafka: KafkaSettings) -> None:
    async def begin() -> None:
        async with await Follower.open(kafka, TOPIC, {0: 0}):
            pass

    asyncio.run(begin())


def read(kafka: KafkaSettings) -> None:
    with Reader(kafka, TOPIC):
        pass


CLIENTS: Final[dict[str, Callable[[KafkaSettings], object]]] = {
    "admin": lambda kafka: Admin(kafka).ensure_topics([TopicSpec(TOPIC)]),
    "reader": read,
    "follower": follow,
}


@pytest.mark.parametrize(
    ("case", "client"),
    [
        *((case, "admin") for case in REFUSALS),
        ("a wrong password", "reader"),
        ("a token that has expired", "reader"),
        ("a wrong password", "follower"),
        # To aiokafka alone its token would be accepted.
        ("a token that has expired", "follower"),
    ],
)
def test_who_is_turned_away_is_told_why_in_one_line(
    case: str, client: str, secured: SecuredBroker, tmp_path: Path
) -> None:
    Admin(secured.kafka).ensure_topics([TopicSpec(TOPIC)])
    kafka, why, remedy = turned_away(case, secured, tmp_path)
    with pytest.raises(FatalError) as refused:
        CLIENTS[client](kafka)
    assert why in refused.value.message
    assert remedy in (refused.value.remedy or "")
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "case", ["a wrong password", "an authority that signed nothing here", "a token that has expired"]
)
def test_a_scorer_that_is_turned_away_ends_with_that_line(
    case: str, secured: SecuredBroker, stream: Stream, tmp_path: Path
) -> None:
    kafka, why, _ = turned_away(case, secured, tmp_path)
    entered = Stream(secured, stream.settings, stream.name)
    entered.broker = EnteredBroker(kafka.bootstrap, kafka)
    refused = entered.refuses(stream.deployment())
    assert isinstance(refused, FatalError)
    assert why in refused.message


def test_the_wrong_protocol_is_named_as_what_it_may_be(secured: SecuredBroker) -> None:
    kafka = secured.by(Door.PASSWORD, security_protocol="sasl_plaintext")
    with pytest.raises(TransientError, match="__SECURITY_PROTOCOL is the listener's"):
        Admin(kafka).topic_names()


class TestTokens:
    def fetch(self, *settings: OAuthSettings, times: int = 1) -> set[str]:
        async def fetch() -> set[str]:
            [oauth] = settings
            provider = ClientCredentials(oauth)
            return {await provider.token() for _ in range(times)}

        return asyncio.run(fetch())

    def refusal(self, **changes: object) -> MillraceError:
        with pytest.raises(MillraceError) as refused:
            self.fetch(OAuthSettings.model_validate(changes))
        return refused.value

    def test_one_is_kept_while_it_holds(self, secured: SecuredBroker) -> None:
        provider = secured.provider
        before = provider.answered
        assert len(self.fetch(OAuthSettings.model_validate(oauth(provider)), times=5)) == 1
        assert provider.answered == before + 1

    def test_one_that_does_not_hold_is_fetched_again(self, secured: SecuredBroker) -> None:
        provider = secured.provider
        before = provider.answered
        self.fetch(OAuthSettings.model_validate(oauth(provider, client_id=LATE)), times=3)
        assert provider.answered == before + 3

    def test_a_refusal_names_the_settings(self, secured: SecuredBroker) -> None:
        refused = self.refusal(**oauth(secured.provider, client_secret=WRONG))
        assert isinstance(refused, FatalError)
        assert "CLIENT_SECRET" in (refused.remedy or "")

    def test_no_answer_is_transient(self, secured: SecuredBroker) -> None:
        refused = self.refusal(**oauth(secured.provider, token_url="http://127.0.0.1:1/token"))  # noqa: S106 -- an address
        assert isinstance(refused, TransientError)

    def test_an_answer_that_is_no_token_is_said(self, secured: SecuredBroker) -> None:
        refused = self.refusal(**oauth(secured.provider, token_url=f"{secured.provider.url}/nonsense"))
        assert "is no token" in refused.message

    def test_a_missing_secret_is_named(self, secured: SecuredBroker, tmp_path: Path) -> None:
        missing = oauth(secured.provider, client_secret=None, client_secret_file=tmp_path / "absent")
        assert isinstance(self.refusal(**missing), RequestError)
