"""The kinds of process that deployments ask for, and how each is started."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from millrace.process.deployment import Deployment

Count: TypeAlias = Callable[[Deployment], int]
Arguments: TypeAlias = Callable[[Deployment, int], tuple[str, ...]]


def by_name(deployment: Deployment, number: int) -> tuple[str, ...]:
    """The arguments of every service that reads its document from the log."""
    return ("--name", deployment.deployment, "--slot", str(number))


def _training(deployment: Deployment, _: int) -> tuple[str, ...]:
    return ("--file", str(deployment.scale.training))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of process.

    A package adds one by an entry point of the group `millrace.kinds` that leads to a value of this class. Its process
    serves `/readyz` on `MILLRACE_HEALTH__PORT` and ends on SIGTERM.

    Attributes:
        name: Lower-case letters, digits and hyphens; part of slots.
        module: What `python -m` runs. A node that has no such module cannot run the kind.
        count: How many a deployment wants.
        arguments: The arguments of the process of a number.
        has_gpus: Whether the GPUs that a deployment asks for are for this kind.
    """

    name: str
    module: str
    count: Count
    arguments: Arguments = by_name
    has_gpus: bool = False


BUILT_IN: Final = (
    Kind("scorer", "millrace_scorer", lambda deployment: deployment.scale.scorers, has_gpus=True),
    Kind("auditor", "millrace_auditor", lambda deployment: deployment.scale.auditors),
    Kind("gateway", "millrace_gateway", lambda deployment: deployment.scale.gateways),
    Kind("materializer", "millrace_materializer", lambda deployment: deployment.scale.materializers),
    Kind("trainer", "millrace_trainer", lambda deployment: int(deployment.scale.training is not None), _training),
)
"""The kinds of millrace's own services."""
