"""The operations that tell how well things go, and those on models."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Query

from millrace.core.control.fleet import Slot
from millrace.core.control.keys import Role
from millrace_launcher.adapters.rest.guard import Who, takes
from millrace_launcher.adapters.rest.insights import Document, Insights

_LOOKING: Final = takes(Role.VIEWER)
_CHANGING: Final = takes(Role.OPERATOR)
_MOST: Final = 1_000


def add_insights(api: FastAPI, insights: Insights) -> None:
    """Add the operations to an application."""

    @api.get("/v1/processes/{deployment}/{kind}/{number}/series", operation_id="series", openapi_extra=_LOOKING)
    def series(deployment: str, kind: str, number: int) -> Mapping[str, Any]:
        """The figures of a slot's processes over the last hour, a list each, oldest first."""
        return insights.series(Slot.parse(f"{deployment}/{kind}/{number}"))

    @api.get("/v1/deployments/{name}/audits", operation_id="audits", openapi_extra=_LOOKING)
    def audits(name: str, last: Annotated[int, Query(ge=1, le=_MOST)] = 50) -> Document:
        """The newest report of each of the last windows, oldest first, and the alerts that are open."""
        return insights.audits(name, last=last)

    @api.get("/v1/deployments/{name}/answers", operation_id="answers", openapi_extra=_LOOKING)
    def answers(name: str) -> list[Document]:
        """How it is observed, how one knows if it fails, whether there is a feedback loop, if the load is balanced."""
        return insights.answers(name)

    @api.get("/v1/deployments/{name}/dead-letters", operation_id="dead_letters", openapi_extra=_LOOKING)
    def dead_letters(name: str, most: Annotated[int, Query(ge=1, le=_MOST)] = 20) -> list[Document]:
        """The newest records that could not be scored, and why."""
        return insights.dead_letters(name, most=most)

    @api.get("/v1/models", operation_id="models", openapi_extra=_LOOKING)
    def models() -> list[Document]:
        """All versions of all models, and the aliases that name them."""
        return insights.models()

    @api.get("/v1/models/{name}/{version}", operation_id="model", openapi_extra=_LOOKING)
    def model(name: str, version: int) -> Document:
        """Everything that is known of a version: what it accepts, how good it was, what it was made of."""
        return insights.model(name, version)

    @api.post("/v1/models/{name}/promote", operation_id="promote", openapi_extra=_CHANGING)
    def promote(name: str, version: Annotated[int, Body(embed=True)], who: Who) -> Document:
        """Make a version the champion."""
        return insights.promote(name, version, who=who)

    @api.post("/v1/models/{name}/rollback", operation_id="rollback", openapi_extra=_CHANGING)
    def rollback(name: str, who: Who) -> Document:
        """Make the version the champion that was it before."""
        return insights.rollback(name, who=who)
