"""The operations on the environments of nodes."""

from typing import Final

from fastapi import FastAPI

from millrace.core.control.keys import Role
from millrace_launcher.adapters.rest.environments import Document, EnvironmentDesk
from millrace_launcher.adapters.rest.guard import Who, takes

_LOOKING: Final = takes(Role.VIEWER)
_INSTALLING: Final = takes(Role.ADMIN)


def add_environments(api: FastAPI, desk: EnvironmentDesk) -> None:
    """Add the operations to an application."""

    @api.get("/v1/deployments/{name}/environment", operation_id="environment", openapi_extra=_LOOKING)
    def environment(name: str) -> list[Document]:
        """Whether each node has the libraries that a deployment needs."""
        return desk.environment(name)

    @api.post("/v1/deployments/{name}/environment/{node}", operation_id="sync_environment", openapi_extra=_INSTALLING)
    def sync_environment(name: str, node: str, who: Who) -> Document:
        """Install on a node what a deployment needs and it lacks."""
        return desk.sync(name, node, who=who)
