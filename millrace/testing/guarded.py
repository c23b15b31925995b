"""A broker that lets nobody do what he has no right to, and says of each request whether it was allowed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from millrace.kafka.acls import Operation, Pattern, Resource, Right
from millrace.kafka.broker import LocalBroker
from millrace.process.settings import KafkaSettings, SaslMechanism, SecurityProtocol
from millrace.testing.broker import QUICK_JAVA, BorrowedBroker, temporary_broker

OWNER: Final = "owner"
"""The user who may do everything."""

IMPLIED: Final[Mapping[Operation, frozenset[str]]] = {
    Operation.READ: frozenset({"READ", "DESCRIBE"}),
    Operation.WRITE: frozenset({"WRITE", "DESCRIBE"}),
    Operation.CREATE: frozenset({"CREATE"}),
    Operation.DESCRIBE: frozenset({"DESCRIBE"}),
    Operation.DESCRIBE_CONFIGS: frozenset({"DESCRIBE_CONFIGS"}),
    Operation.ALTER_CONFIGS: frozenset({"ALTER_CONFIGS", "DESCRIBE_CONFIGS"}),
}
"""What a right allows, in the words of Kafka's protocol and by its documentation: not taken from our code."""

_TELLS: Final = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug"
_TOLD: Final = re.compile(
    r"Principal = User:(?P<user>\S+) is Allowed operation = (?P<operation>\w+) from host = \S+ "
    r"on resource = (?P<resource>\w+):\w+:(?P<name>\S+) for request"
)
_RESOURCES: Final = {"Topic": Resource.TOPIC, "Group": Resource.GROUP, "TransactionalId": Resource.TRANSACTIONAL_ID}


class Asked(NamedTuple):
    """What a user did with what, in the words of Kafka's protocol."""

    resource: Resource
    name: str
    operation: str


def is_given(rights: Iterable[Right], resource: Resource, name: str, operation: str) -> bool:
    """Whether these rights allow an operation, in the words of Kafka's protocol."""
    return any(
        right.resource is resource
        and operation in IMPLIED[right.operation]
        and (name.startswith(right.name) if right.pattern is Pattern.PREFIXED else name == right.name)
        for right in rights
    )


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


@dataclass(frozen=True, slots=True)
class GuardedBroker(BorrowedBroker):
    """A running broker with an authoriser, as its owner sees it.

    Attributes:
        log: What it says.
    """

    log: Path

    @property
    def kafka(self) -> KafkaSettings:
        """How its owner connects."""
        return signed_in(self.bootstrap, OWNER)

    def allowed(self, user: str) -> frozenset[Asked]:
        """What a user was allowed to do so far."""
        return frozenset(
            Asked(_RESOURCES[told["resource"]], told["name"], told["operation"])
            for told in _TOLD.finditer(self.log.read_text())
            if told["user"] == user and told["resource"] in _RESOURCES
        )


@contextmanager
def guarded_broker(home: Path, users: Iterable[str]) -> Iterator[GuardedBroker]:
    """Run a broker with an authoriser and these users until the block ends; none of them has a right yet."""
    local = LocalBroker(home, java=(*QUICK_JAVA, _TELLS), properties=guarded_properties(users))
    with temporary_broker(local) as running:
        yield GuardedBroker(running.bootstrap, local.log)
