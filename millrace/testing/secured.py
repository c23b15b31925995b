"""A broker with a door of each kind: by certificate, by password, by token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from millrace.kafka.broker import LocalBroker
from millrace.kafka.free_ports import free_ports
from millrace.kafka.server import HOST
from millrace.process.settings import KafkaSettings
from millrace.testing.broker import QUICK_JAVA, BorrowedBroker, temporary_broker
from millrace.testing.certificates import Authority, Identity
from millrace.testing.identity_provider import AUDIENCE, ISSUER, IdentityProvider, identity_provider

PASSWORD: Final = "flour-of-the-miller"  # noqa: S105 -- of nothing but a test
USER: Final = "miller"
"""Who may come in, at every door; his password and his client's secret are `PASSWORD`."""
LATE: Final = "late"
"""A client whose tokens have expired when he gets them."""

_LIMIT_SECS: Final = 15
_OAUTH: Final = "org.apache.kafka.common.security.oauthbearer"


class Door(StrEnum):
    """A listener, and how it is spoken to."""

    CERTIFICATE = "CERTIFICATE"
    """TLS on both sides: who has no certificate does not come in."""
    PASSWORD = "PASSWORD"  # noqa: S105 -- the name of a listener
    """SCRAM-SHA-512 over TLS."""
    TOKEN = "TOKEN"  # noqa: S105 -- the name of a listener
    """OAUTHBEARER over TLS."""


@dataclass(frozen=True, slots=True)
class EnteredBroker(BorrowedBroker):
    """A broker as somebody sees it who comes in by one door."""

    way: KafkaSettings

    @property
    def kafka(self) -> KafkaSettings:
        """How he connects."""
        return self.way


@dataclass(frozen=True, slots=True)
class SecuredBroker(BorrowedBroker):
    """A running broker; `kafka` comes in by the plain listener and may do everything.

    Attributes:
        authority: Who signed its certificate.
        provider: Whose tokens it takes.
        doors: The ports of its listeners.
        mine: A certificate that it takes.
    """

    authority: Authority
    provider: IdentityProvider
    doors: Mapping[Door, int]
    mine: Identity = field(repr=False)

    def settings(self, door: Door, **changes: object) -> dict[str, object]:
        """How `USER` comes in by this door, as settings; `changes` have the last word."""
        ways: dict[Door, dict[str, object]] = {
            Door.CERTIFICATE: {
                "security_protocol": "ssl",
                "ssl_certificate": self.mine.certificate,
                "ssl_key": self.mine.key,
            },
            Door.PASSWORD: {
                "security_protocol": "sasl_ssl",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": USER,
                "sasl_password": PASSWORD,
            },
            Door.TOKEN: {
                "security_protocol": "sasl_ssl",
                "sasl_mechanism": "OAUTHBEARER",
                "oauth": {"token_url": self.provider.token_url, "client_id": USER, "client_secret": PASSWORD},
            },
        }
        address = {"bootstrap": f"{HOST}:{self.doors[door]}", "ssl_ca": self.authority.file}
        return {**address, **ways[door], **changes}

    def by(self, door: Door, **changes: object) -> KafkaSettings:
        """`settings`, checked."""
        return KafkaSettings.model_validate(self.settings(door, **changes))

    def entered(self, door: Door) -> EnteredBroker:
        """The broker as `USER` sees it who comes in by this door."""
        way = self.by(door)
        return EnteredBroker(way.bootstrap, way)


@contextmanager
def secured_broker(home: Path) -> Iterator[SecuredBroker]:
    """Run a broker with these doors until the block ends."""
    authority = Authority(home / "authority", "authority")
    ports = free_ports(len(Door), seed=hash(home))
    doors = dict(zip(Door, ports, strict=True))
    with identity_provider({USER: PASSWORD, LATE: PASSWORD}, lives={LATE: -60}) as provider:
        keys = home / "keys.json"
        keys.write_text(provider.keys)
        local = LocalBroker(
            home / "kafka",
            properties=_properties(authority, keys),
            java=(*QUICK_JAVA, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys.as_uri()}"),
            listeners={door.value: port for door, port in doors.items()},
        )
        with temporary_broker(local) as running:
            _add_user(running.kafka)
            mine = authority.issue(USER, host=None)
            yield SecuredBroker(running.bootstrap, authority, provider, doors, mine)


def _properties(authority: Authority, keys: Path) -> dict[str, str]:
    server = authority.issue("broker")
    chain = server.certificate.with_suffix(".chain")
    chain.write_bytes(server.key.read_bytes() + server.certificate.read_bytes())
    token = f"listener.name.{Door.TOKEN.value.lower()}"
    return {
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        f"{Door.CERTIFICATE}:SSL,{Door.PASSWORD}:SASL_SSL,{Door.TOKEN}:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(chain),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        f"listener.name.{Door.CERTIFICATE.value.lower()}.ssl.client.auth": "required",
        f"listener.name.{Door.PASSWORD.value.lower()}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"listener.name.{Door.PASSWORD.value.lower()}.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        f"{token}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{token}.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
        f"{token}.oauthbearer.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
        f"{token}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
        f"{token}.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{token}.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
    }


def _add_user(kafka: KafkaSettings) -> None:
    admin = AdminClient(kafka.client())
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    wanted = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
    for answer in admin.alter_user_scram_credentials([wanted]).values():
        answer.result(_LIMIT_SECS)
