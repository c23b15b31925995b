"""What somebody launches beside the deployments: a batch, a notebook, a program of an engine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from millrace.core.control.fleet import Resources, Slot
from millrace.core.errors import RequestError

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?")
_SECRET: Final = re.compile(r"secret|password|passwd|token|credential|(^|_)key$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """One process that somebody launched. It lies in the log as it is here: it is no place for secrets.

    Attributes:
        name: Its id.
        kind: What kind of process it is.
        arguments: Of the process, after those that its kind gives it.
        environment: Folder of the Python environment that runs it, on every node that may; empty for the node's own.
        folder: Where it is started, on every node that may run it; empty for where the node's daemon was.
        variables: Environment variables, beside those of the node's daemon.
        needs: What is set aside for it.
        libraries: Library versions that a node must have.
        submitted_ms: When it was launched, milliseconds since 1970.
    """

    name: str
    kind: str
    arguments: tuple[str, ...] = ()
    environment: str = ""
    folder: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    needs: Resources = field(default_factory=lambda: Resources(0.5, 1 << 30))
    libraries: Mapping[str, str] = field(default_factory=dict)
    submitted_ms: int = 0

    @property
    def slot(self) -> Slot:
        """Where its process is."""
        return Slot(self.name, self.kind, 0)

    def at(self, now_ms: int) -> "Job":
        """The same, launched now."""
        return replace(self, submitted_ms=now_ms)


def check_job(job: Job) -> None:
    """Refuse what no node could run, or nobody should write into the log.

    Raises:
        RequestError: Says what, and what to do.
    """
    if _NAME.fullmatch(job.name) is None:
        raise RequestError(f"{job.name!r} names no job", remedy="use lower-case letters, digits and hyphens")
    if job.needs.cores <= 0 or job.needs.memory_bytes < 1 << 20:
        raise RequestError(f"job {job.name} asks for no cores or no memory", remedy="ask for more than nothing")
    for name in job.variables:
        if _SECRET.search(name):
            raise RequestError(
                f"the variable {name} looks like a secret, and jobs lie in the log for all to read",
                remedy="set it in the environment of the nodes' daemons, which their processes get",
            )
