"""The operations that Prometheus calls."""

from typing import Annotated, Final

from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse, Response

from millrace.core.control.fleet import Slot
from millrace.core.control.keys import Role
from millrace_launcher.adapters.rest.guard import takes
from millrace_launcher.adapters.rest.scraping import Scraping
from millrace_launcher.logic.discovery import METRICS_PATH, TargetGroup

_LOOKING: Final = takes(Role.VIEWER)
_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"


def add_scraping(api: FastAPI, scraping: Scraping) -> None:
    """Add the operations to an application."""

    @api.get("/v1/service-discovery", operation_id="service_discovery", openapi_extra=_LOOKING)
    def service_discovery() -> list[TargetGroup]:
        """Where the metrics of the fleet are: what Prometheus' `http_sd_configs` reads."""
        return scraping.service_discovery()

    @api.get(METRICS_PATH, operation_id="metrics", openapi_extra=_LOOKING, response_class=PlainTextResponse)
    def metrics(
        slot: Annotated[str | None, Query(description="Of this process; the daemon's own where absent.")] = None,
    ) -> Response:
        """Metrics of a process, or of the daemon itself, in Prometheus' text format."""
        return Response(scraping.metrics(None if slot is None else Slot.parse(slot)), media_type=_TEXT_FORMAT)
