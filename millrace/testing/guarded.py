"""A broker that lets nobody do what he has no right to."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from millrace.kafka.broker import LocalBroker
from millrace.process.settings import KafkaSettings, SaslMechanism, SecurityProtocol
from millrace.testing.broker import QUICK_JAVA, BorrowedBroker, temporary_broker

OWNER: Final = "owner"
"""The user who may do everything."""


def guarded_properties(users: Iterable[str]) -> dict[str, str]:
    """Properties of a broker with an authoriser and with these users, whose passwords are `password_of` them."""
    known = " ".join(f'user_{name}="{password_of(name)}"' for name in (OWNER, *users))
    return {
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The broker itself comes without a name, over listeners that are for this machine alone.
        "super.users": f"User:{OWNER};User:ANONYMOUS",
    }


def password_of(user: str) -> str:
    """What a user of a guarded broker proves himself with."""
    return f"password-of-{user}"


def signed_in(bootstrap: str, user: str) -> KafkaSettings:
    """How a user connects."""
    return KafkaSettings.model_validate(
        {
            "bootstrap": bootstrap,
            "security_protocol": SecurityProtocol.SASL_PLAINTEXT,
            "sasl_mechanism": SaslMechanism.PLAIN,
            "sasl_username": user,
            "sasl_password": password_of(user),
        }
    )


class GuardedBroker(BorrowedBroker):
    """A running broker with an authoriser, as its owner sees it."""

    @property
    def kafka(self) -> KafkaSettings:
        """How its owner connects."""
        return signed_in(self.bootstrap, OWNER)


@contextmanager
def guarded_broker(home: Path, users: Iterable[str]) -> Iterator[GuardedBroker]:
    """Run a broker with an authoriser and these users until the block ends; none of them has a right yet."""
    local = LocalBroker(home, java=QUICK_JAVA, properties=guarded_properties(users))
    with temporary_broker(local) as running:
        yield GuardedBroker(running.bootstrap)
