"""The REST API, as FastAPI describes it. Every operation's id is the method of `ControlClient` that calls it."""

import hmac
from typing import Annotated, Any, Final

from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from millrace import __version__
from millrace.core.control.fleet import Slot
from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace_launcher.adapters.rest.desk import Desk, Document

_MOST_LINES: Final = 10_000
_STATUS: Final[tuple[tuple[type[MillraceError], int], ...]] = (
    (RequestError, 422),
    (TransientError, 503),
    (FatalError, 500),
)

Who = Annotated[str, Header(alias="Millrace-User", max_length=200, description="Whom the history names.")]
Wanted = Annotated[dict[str, Any], Body(description="A deployment document.")]


class UnauthorizedError(RequestError):
    """The caller showed no token, or a wrong one."""


def make_api(desk: Desk, *, token: str) -> FastAPI:
    """The application. Every operation wants the token; all errors have one shape.

    Args:
        desk: Answers.
        token: What callers show as `Authorization: Bearer TOKEN`.
    """

    def authorize(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise UnauthorizedError(
                "the token is missing or wrong",
                remedy="set MILLRACE_LAUNCHER__TOKEN, or read the file launcher.token in the daemon's home",
            )

    api = FastAPI(
        title="millrace launcher",
        version=__version__,
        docs_url=None,  # Its page loads scripts from elsewhere.
        redoc_url=None,
        dependencies=[Depends(authorize)],
    )
    _add_reading(api, desk)
    _add_writing(api, desk)
    api.add_exception_handler(MillraceError, _refuse)
    api.add_exception_handler(RequestValidationError, _refuse_invalid)
    return api


def _add_reading(api: FastAPI, desk: Desk) -> None:
    @api.get("/v1/nodes", operation_id="nodes")
    def nodes() -> list[Document]:
        """All nodes."""
        return desk.nodes()

    @api.get("/v1/deployments", operation_id="deployments")
    def deployments() -> list[Document]:
        """How every deployment fares."""
        return desk.deployments()

    @api.get("/v1/deployments/{name}", operation_id="deployment")
    def deployment(name: str) -> Document:
        """A deployment's document, and how it fares."""
        return desk.deployment(name)

    @api.get("/v1/deployments/{name}/why", operation_id="why")
    def why(name: str) -> list[str]:
        """Why a deployment is as it is, the cause first."""
        return desk.why(name)

    @api.get("/v1/processes", operation_id="processes")
    def processes() -> list[Document]:
        """What runs, and what ended last."""
        return desk.processes()

    @api.get("/v1/processes/{deployment}/{kind}/{number}/logs", operation_id="logs")
    def logs(
        deployment: str, kind: str, number: int, lines: Annotated[int, Query(ge=1, le=_MOST_LINES)] = 100
    ) -> list[str]:
        """The last lines of a slot's processes."""
        return desk.logs(Slot.parse(f"{deployment}/{kind}/{number}"), lines=lines)

    @api.get("/v1/history", operation_id="history")
    def history(deployment: str | None = None) -> list[Document]:
        """Who changed what."""
        return desk.history(deployment=deployment)

    @api.get("/v1/history/verification", operation_id="verification")
    def verification() -> Document:
        """Whether the history is whole."""
        return desk.verification()


def _add_writing(api: FastAPI, desk: Desk) -> None:
    @api.put("/v1/deployments/{name}", operation_id="put")
    def put(name: str, document: Wanted, who: Who) -> Document:
        """Create or change a deployment."""
        return desk.put(name, document, who=who)

    @api.post("/v1/deployments/{name}/plan", operation_id="plan")
    def plan(name: str, document: Wanted) -> Document:
        """What creating or changing a deployment would do, and what will not work."""
        return desk.plan(name, document)

    @api.post("/v1/deployments/{name}/scale", operation_id="scale")
    def scale(name: str, counts: Annotated[dict[str, int], Body()], who: Who) -> Document:
        """Change how many processes there shall be, by the names of the document's section `scale`."""
        return desk.scale(name, counts, who=who)

    @api.delete("/v1/deployments/{name}", operation_id="delete")
    def delete(name: str, who: Who) -> Document:
        """Delete a deployment; its topics stay."""
        return desk.delete(name, who=who)


def _refuse(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, UnauthorizedError):
        status = 401
    else:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    message, remedy = (error.message, error.remedy) if isinstance(error, MillraceError) else (str(error), "")
    return JSONResponse({"error": message, "remedy": remedy}, status)


def _refuse_invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError(f"no validation error: {error!r}")
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return JSONResponse({"error": f"{place}: {first['msg']}", "remedy": "see /openapi.json"}, 422)
