"""Access control lists: what a user of the cluster may do, given and looked up."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from millrace.core.errors import TransientError
from millrace.kafka.connection import QUIET
from millrace.kafka.errors import from_kafka
from millrace.process.settings import KafkaSettings

_LIMIT: Final = timedelta(seconds=15)


class Resource(StrEnum):
    """What a right is about, in the words of `kafka-acls`."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """What may be done, in the words of `kafka-acls`. READ and WRITE include DESCRIBE."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


class Pattern(StrEnum):
    """Whether a right is about one name or about all that begin with it."""

    LITERAL = "literal"
    PREFIXED = "prefixed"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that one user may do. Whoever has no right may do nothing: rights only ever allow."""

    resource: Resource
    name: str
    operation: Operation
    pattern: Pattern = Pattern.LITERAL


def allow(kafka: KafkaSettings, principal: str, rights: Iterable[Right]) -> None:
    """Give `principal`, such as `User:scorer`, these rights from every host. Those that it has already stay.

    Raises:
        FatalError: The user of `kafka` may not give rights, or the cluster has no authoriser.
        TransientError: No broker answers.
    """
    admin = _admin(kafka)  # Held until all have answered: without it they would not.
    for each, answer in admin.create_acls([AclBinding(*_fields(principal, right)) for right in rights]).items():
        _wait(answer, f"giving {principal} a right to {each.name!r}")


def withdraw(kafka: KafkaSettings, principal: str, rights: Iterable[Right]) -> None:
    """Take exactly these rights from `principal`; one that it does not have is as good as taken. Raises as `allow`."""
    admin = _admin(kafka)
    for each, answer in admin.delete_acls([AclBindingFilter(*_fields(principal, right)) for right in rights]).items():
        _wait(answer, f"taking a right to {each.name!r} from {principal}")


def _admin(kafka: KafkaSettings) -> AdminClient:
    return AdminClient(kafka.client(**QUIET))


def _wait(answer: "Future[Any]", doing: str) -> None:
    try:
        answer.result(_LIMIT.total_seconds())
    except KafkaException as error:
        raise from_kafka(error, doing) from error
    except TimeoutError as error:
        raise TransientError(f"{doing}: no answer from the broker in time", remedy="check that it runs") from error


def _fields(
    principal: str, right: Right
) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
    return (
        ResourceType[right.resource.name],
        right.name,
        ResourcePatternType[right.pattern.name],
        principal,
        "*",
        AclOperation[right.operation.name],
        AclPermissionType.ALLOW,
    )
