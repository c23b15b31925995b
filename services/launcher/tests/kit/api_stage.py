"""The REST API before desks that are not asked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import FastAPI

from millrace.core.clock import Clock
from millrace.core.control.keys import Caller, Role
from millrace.telemetry.launcher import Refusal
from millrace.testing.clock import ManualClock
from millrace_launcher.adapters.rest.api import make_api
from millrace_launcher.adapters.rest.desk import Desk
from millrace_launcher.adapters.rest.environments import EnvironmentDesk
from millrace_launcher.adapters.rest.guard import ROLE, Admission, Guard
from millrace_launcher.adapters.rest.insights import Insights
from millrace_launcher.adapters.rest.jobs import JobDesk
from millrace_launcher.adapters.rest.keys import KeyDesk
from millrace_launcher.adapters.rest.scraping import Scraping


@dataclass(frozen=True, slots=True)
class Everybody:
    """Lets everybody in."""

    def admit(self, shown: str, *, address: str, needs: Role, user: str) -> Caller:
        """Whoever he is."""
        return Caller(user, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Notes what was refused, and counts who was not let in."""

    noted: list[tuple[str, str]] = field(default_factory=list)
    counted: Counter[Refusal] = field(default_factory=Counter)

    def count(self, reason: Refusal) -> None:
        """Count it."""
        self.counted[reason] += 1

    def refused(self, who: str, operation: str, target: Mapping[str, str], why: str) -> None:
        """Note it."""
        self.noted.append((who, operation))


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, as the OpenAPI document describes it."""

    name: str
    method: str
    path: str
    role: str | None
    form: str


def guarded_api(
    desk: object, keys: object, admission: Admission, refusals: Refusals | None = None, clock: Clock | None = None
) -> FastAPI:
    """The API before these desks and this admission."""
    noted = refusals or Refusals()
    guard = Guard(admission, noted, clock or ManualClock(), count=noted.count)
    return make_api(
        cast("Desk", desk),
        keys=cast("KeyDesk", keys),
        jobs=cast("JobDesk", desk),
        environments=cast("EnvironmentDesk", desk),
        insights=cast("Insights", desk),
        scraping=cast("Scraping", desk),
        guard=guard,
    )


def described_api() -> FastAPI:
    """An API that is described, and never asked."""
    return guarded_api(None, None, Everybody())


def operations(api: FastAPI) -> Iterator[Operation]:
    """Everything that an API describes."""
    paths: Mapping[str, Mapping[str, Any]] = api.openapi()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            [answered] = operation["responses"]["200"]["content"].values()
            form = answered["schema"].get("type", "object")
            yield Operation(operation["operationId"], method.upper(), path, operation.get(ROLE), form)
