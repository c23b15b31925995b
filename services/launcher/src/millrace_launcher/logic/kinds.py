"""The kinds of process that deployments ask for or that somebody launches, and how each is started."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from millrace.core.control.jobs import Job
from millrace.process.deployment import Deployment

Count: TypeAlias = Callable[[Deployment], int]
Arguments: TypeAlias = Callable[[Deployment, int], tuple[str, ...]]

READY: Final = "/readyz"
"""Where every service of millrace says whether it does its work."""


def by_name(deployment: Deployment, number: int) -> tuple[str, ...]:
    """The arguments of every service that reads its document from the log."""
    return ("--name", deployment.deployment, "--slot", str(number))


def for_nobody(_: Deployment) -> int:
    """The count of a kind that no deployment asks for: it is launched."""
    return 0


def _predictions(deployment: Deployment, _: int) -> tuple[str, ...]:
    return ("--await-topic", "--topic", deployment.predictions_topic)


def _tables(deployment: Deployment) -> tuple[str, ...]:
    """The topics whose newest records the deployment takes features from."""
    return tuple(dict.fromkeys(each.table for each in deployment.enrich))


def _table(deployment: Deployment, number: int) -> tuple[str, ...]:
    # None, and a process that refuses to start, where the document has lost the table since this was decided.
    return ("--await-topic", "--topic", *_tables(deployment)[number : number + 1])


def _training(deployment: Deployment, _: int) -> tuple[str, ...]:
    return ("--file", str(deployment.scale.training))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of process.

    A package adds one by an entry point of the group `millrace.kinds` that leads to a value of this class. Its process
    gets the port of `ready` in `MILLRACE_HEALTH__PORT`, and ends on SIGTERM.

    Attributes:
        name: Lower-case letters, digits and hyphens; part of slots.
        module: What `python -m` runs. A node that has no such module cannot run the kind. Empty for a program that is
            the first of a job's own arguments.
        count: How many a deployment wants.
        arguments: The arguments of a deployment's process of a number.
        has_gpus: Whether the GPUs that a deployment asks for are for this kind.
        ends: Whether a process that somebody launched ends by itself when its work is done.
        ready: Path that answers 200 as long as the process does its work; empty for a process that serves nothing and
            is at work from its start.
    """

    name: str
    module: str
    count: Count = for_nobody
    arguments: Arguments = by_name
    has_gpus: bool = False
    ends: bool = False
    ready: str = READY

    def program(self, python: str) -> tuple[str, ...]:
        """What every command of the kind begins with."""
        return (python, "-m", self.module) if self.module else (python,)

    def work_for(self, deployment: Deployment, number: int, *, python: str) -> tuple[str, ...]:
        """The command of a deployment's process of a number."""
        return (*self.program(python), *self.arguments(deployment, number))

    def work_on(self, job: Job, *, python: str) -> tuple[str, ...]:
        """The command of a job. One with an environment of its own is run by that one's Python."""
        own = f"{job.environment.rstrip('/')}/bin/python" if job.environment else python
        return (*self.program(own), *job.arguments)


BUILT_IN: Final = (
    Kind("scorer", "millrace_scorer", lambda deployment: deployment.scale.scorers, has_gpus=True),
    Kind("auditor", "millrace_auditor", lambda deployment: deployment.scale.auditors),
    Kind("gateway", "millrace_gateway", lambda deployment: deployment.scale.gateways),
    Kind("materializer", "millrace_materializer", lambda deployment: deployment.scale.materializers, _predictions),
    Kind("table", "millrace_materializer", lambda deployment: len(_tables(deployment)), _table),
    Kind("trainer", "millrace_trainer", lambda deployment: int(deployment.scale.training is not None), _training),
    Kind("batch", "millrace_batch", ends=True, ready=""),
    Kind("notebook", "millrace_launcher.notebook", ready="/api"),
    Kind("python", "", ends=True, ready=""),
)
"""The kinds of millrace's own services; the last one is any program: of an engine, with its own environment."""
