"""The REST API, as FastAPI describes it. Every operation's id is the method of `ControlClient` that calls it.

Every operation declares the role that it takes; what takes more than a viewer's changes something.
"""

from math import ceil
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StrictBool

from millrace import __version__
from millrace.core.control.fleet import Slot
from millrace.core.control.keys import ForbiddenError, Role, TooManyAttemptsError, UnknownCallerError
from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace_launcher.adapters.rest.desk import Desk, Document
from millrace_launcher.adapters.rest.environment_routes import add_environments
from millrace_launcher.adapters.rest.environments import EnvironmentDesk
from millrace_launcher.adapters.rest.guard import Guard, Who, takes
from millrace_launcher.adapters.rest.insight_routes import add_insights
from millrace_launcher.adapters.rest.insights import Insights
from millrace_launcher.adapters.rest.job_routes import add_jobs
from millrace_launcher.adapters.rest.jobs import JobDesk
from millrace_launcher.adapters.rest.key_routes import add_keys
from millrace_launcher.adapters.rest.keys import KeyDesk
from millrace_launcher.adapters.rest.scraping import Scraping
from millrace_launcher.adapters.rest.scraping_routes import add_scraping
from millrace_launcher.logic.looking_back import Search

_MOST_LINES: Final = 10_000
_STATUS: Final[tuple[tuple[type[MillraceError], int], ...]] = (
    (UnknownCallerError, 401),
    (ForbiddenError, 403),
    (TooManyAttemptsError, 429),
    (RequestError, 422),
    (TransientError, 503),
    (FatalError, 500),
)
"""The first that fits counts."""

Wanted = Annotated[dict[str, Any], Body(description="A deployment document.")]


class Refused(BaseModel):
    """Why not, and what helps."""

    error: str
    remedy: str


LOOKING: Final = takes(Role.VIEWER)
CHANGING: Final = takes(Role.OPERATOR)


def make_api(
    desk: Desk,
    *,
    keys: KeyDesk,
    jobs: JobDesk,
    environments: EnvironmentDesk,
    insights: Insights,
    scraping: Scraping,
    guard: Guard,
) -> FastAPI:
    """The application. Every operation asks the guard first; all errors have one shape.

    Args:
        desk: Answers.
        keys: Answers about keys.
        jobs: Answers about jobs.
        environments: Answers about what nodes have installed.
        insights: Answers about how well things go.
        scraping: Answers Prometheus.
        guard: Lets callers in.
    """
    api = FastAPI(
        title="millrace launcher",
        version=__version__,
        description="Show a key: `Authorization: Bearer KEY`. With the owner's token, `Millrace-User` is who you are.",
        docs_url=None,  # Its page loads scripts from elsewhere.
        redoc_url=None,
        responses={"4XX": {"model": Refused}, "5XX": {"model": Refused}},
    )
    api.router.route_class = guard.routes()
    _add_reading(api, desk)
    _add_writing(api, desk)
    add_keys(api, keys)
    add_jobs(api, jobs)
    add_environments(api, environments)
    add_insights(api, insights)
    add_scraping(api, scraping)

    def refuse(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestError):
            guard.note(request, error)
        return _refusal(error)

    def refuse_invalid(request: Request, error: Exception) -> JSONResponse:
        return refuse(request, _invalid(error))

    api.add_exception_handler(MillraceError, refuse)
    api.add_exception_handler(RequestValidationError, refuse_invalid)
    return api


def _add_reading(api: FastAPI, desk: Desk) -> None:
    @api.get("/v1/nodes", operation_id="nodes", openapi_extra=LOOKING)
    def nodes() -> list[Document]:
        """All nodes."""
        return desk.nodes()

    @api.get("/v1/deployments", operation_id="deployments", openapi_extra=LOOKING)
    def deployments() -> list[Document]:
        """How every deployment fares."""
        return desk.deployments()

    @api.get("/v1/deployments/{name}", operation_id="deployment", openapi_extra=LOOKING)
    def deployment(name: str) -> Document:
        """A deployment's document, and how it fares."""
        return desk.deployment(name)

    @api.get("/v1/deployments/{name}/why", operation_id="why", openapi_extra=LOOKING)
    def why(name: str) -> list[str]:
        """Why a deployment is as it is, the cause first."""
        return desk.why(name)

    @api.get("/v1/processes", operation_id="processes", openapi_extra=LOOKING)
    def processes() -> list[Document]:
        """What runs, and what ended last."""
        return desk.processes()

    @api.get("/v1/processes/{deployment}/{kind}/{number}/logs", operation_id="logs", openapi_extra=LOOKING)
    def logs(
        deployment: str, kind: str, number: int, lines: Annotated[int, Query(ge=1, le=_MOST_LINES)] = 100
    ) -> list[str]:
        """The last lines of a slot's processes."""
        return desk.logs(Slot.parse(f"{deployment}/{kind}/{number}"), lines=lines)

    @api.get("/v1/history", operation_id="history", openapi_extra=LOOKING)
    def history(
        deployment: Annotated[str | None, Query(description="Only about this deployment.")] = None,
        who: Annotated[str | None, Query(description="Only by whose name begins so.")] = None,
        what: Annotated[str | None, Query(description="Only actions that begin so: `scale`, `refused`.")] = None,
        since_ms: Annotated[int | None, Query(ge=0, description="Not before this, milliseconds since 1970.")] = None,
    ) -> list[Document]:
        """Who changed what, and who was refused."""
        return desk.history(Search(deployment, who, what, since_ms))

    @api.get("/v1/history/verification", operation_id="verification", openapi_extra=LOOKING)
    def verification() -> Document:
        """Whether the history is whole."""
        return desk.verification()


def _add_writing(api: FastAPI, desk: Desk) -> None:
    @api.put("/v1/deployments/{name}", operation_id="put", openapi_extra=CHANGING)
    def put(name: str, document: Wanted, who: Who) -> Document:
        """Create or change a deployment."""
        return desk.put(name, document, who=who)

    @api.post("/v1/deployments/{name}/plan", operation_id="plan", openapi_extra=LOOKING)
    def plan(name: str, document: Wanted) -> Document:
        """What creating or changing a deployment would do, and what will not work."""
        return desk.plan(name, document)

    @api.post("/v1/deployments/{name}/scale", operation_id="scale", openapi_extra=CHANGING)
    def scale(name: str, counts: Annotated[dict[str, StrictBool | int], Body()], who: Who) -> Document:
        """Change how many processes there shall be, by the names of the document's section `scale`.

        `auto`: whether the number of scorers follows the load.
        """
        return desk.scale(name, counts, who=who)

    @api.delete("/v1/deployments/{name}", operation_id="delete", openapi_extra=CHANGING)
    def delete(name: str, who: Who) -> Document:
        """Delete a deployment; its topics stay."""
        return desk.delete(name, who=who)


def _refusal(error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnknownCallerError) else {}
    if isinstance(error, TooManyAttemptsError):
        headers["Retry-After"] = str(ceil(error.retry_after.total_seconds()))
    message, remedy = (error.message, error.remedy) if isinstance(error, MillraceError) else (str(error), "")
    return JSONResponse({"error": message, "remedy": remedy}, status, headers)


def _invalid(error: Exception) -> RequestError:
    if not isinstance(error, RequestValidationError):
        raise TypeError(f"no validation error: {error!r}")
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return RequestError(f"{place}: {first['msg']}", remedy="see /openapi.json")
