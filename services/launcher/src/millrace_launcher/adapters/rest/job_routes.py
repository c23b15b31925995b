"""The operations on jobs."""

from typing import Annotated, Any, Final

from fastapi import Body, FastAPI

from millrace.core.control.keys import Role
from millrace_launcher.adapters.rest.guard import Who, takes
from millrace_launcher.adapters.rest.jobs import Document, JobDesk

_LOOKING: Final = takes(Role.VIEWER)
_CHANGING: Final = takes(Role.OPERATOR)
_RUNNING: Final = takes(Role.ADMIN)
"""A job is any program: who submits one can do whatever the node's daemon can."""

Wanted = Annotated[dict[str, Any], Body(description="`kind`, and of a job what is not to be as usual.")]


def add_jobs(api: FastAPI, desk: JobDesk) -> None:
    """Add the operations to an application."""

    @api.get("/v1/jobs", operation_id="jobs", openapi_extra=_LOOKING)
    def jobs() -> list[Document]:
        """All jobs, those that have ended included."""
        return desk.jobs()

    @api.get("/v1/jobs/{name}", operation_id="job", openapi_extra=_LOOKING)
    def job(name: str) -> Document:
        """One job, and how it fares."""
        return desk.job(name)

    @api.post("/v1/jobs", operation_id="submit", openapi_extra=_RUNNING)
    def submit(document: Wanted, who: Who) -> Document:
        """Launch a process on some node."""
        return desk.submit(document, who=who)

    @api.delete("/v1/jobs/{name}", operation_id="cancel", openapi_extra=_CHANGING)
    def cancel(name: str, who: Who) -> Document:
        """End a job where it runs, and forget it."""
        return desk.cancel(name, who=who)
