"""What a door over HTTP is, and how doors become one application."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from millrace import __version__
from millrace.core.errors import MillraceError
from millrace_gateway.adapters.rest.inference_schema import REFUSED
from millrace_gateway.adapters.rest.reference import HEADERS, reference_page
from millrace_gateway.adapters.rest.refusals import refuse, refuse_status

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestDoor:
    """Some routes that belong together.

    Attributes:
        router: The routes. A handler raises errors of `MillraceError`; they become answers in one place. One that takes
            a body reads it by `read_body`, which bounds it.
        paths: OpenAPI path items of routes that FastAPI cannot describe by itself, by path.
        schemas: OpenAPI schemas that these refer to, by name.
    """

    router: APIRouter
    paths: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Any] = field(default_factory=dict)


def application(doors: Sequence[RestDoor]) -> ASGIApp:
    """One application of all doors, with one shape of errors and one OpenAPI document."""
    app = FastAPI(
        title="millrace gateway",
        version=__version__,
        description="Ask a model now, send events, subscribe to predictions.",
        exception_handlers=_HANDLERS,
        responses={"4XX": REFUSED, "5XX": REFUSED},
        docs_url=None,  # Its pages load scripts from elsewhere.
        redoc_url=None,
    )
    for door in doors:
        app.include_router(door.router)
    generated = app.openapi

    def described() -> dict[str, Any]:
        document = generated()
        for door in doors:
            document["paths"].update(door.paths)
            document.setdefault("components", {}).setdefault("schemas", {}).update(door.schemas)
        return document

    @app.get("/docs", include_in_schema=False)
    async def reference() -> Response:
        return HTMLResponse(reference_page(app.openapi()), headers=HEADERS)

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend its document
    return app


async def _refused(request: Request, error: MillraceError) -> Response:
    return refuse(error)


async def _http(request: Request, error: HTTPException) -> Response:
    return refuse_status(error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return refuse_status(HTTPStatus.BAD_REQUEST, f"{place}: {first['msg']}")


async def _failed(request: Request, error: Exception) -> Response:
    log.error("a request met a bug", path=request.url.path, error=repr(error), exc_info=error)
    return refuse_status(HTTPStatus.INTERNAL_SERVER_ERROR, "the gateway failed; its log says why")


_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    MillraceError: _refused,
    HTTPException: _http,
    RequestValidationError: _invalid,
    Exception: _failed,
}
