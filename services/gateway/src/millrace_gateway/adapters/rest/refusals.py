"""Errors as answers: one JSON shape for all of them, `{"error": ..., "remedy": ..., "code": ...}`."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import orjson
from starlette.responses import Response

from millrace.core.control.keys import ForbiddenError, TooManyAttemptsError, UnknownCallerError
from millrace.core.errors import InvalidRecordError, MillraceError, RequestError, TransientError
from millrace_gateway.logic.errors import (
    ConflictError,
    LateError,
    LengthRequiredError,
    NotFoundError,
    RateLimitedError,
    SlowRequestError,
    TooLargeError,
    seconds_to_wait,
)

JSON: Final = "application/json"


class Code(StrEnum):
    """What kind of refusal it is, for programs. A closed list."""

    INVALID = "invalid"
    UNKNOWN_CALLER = "unknown_caller"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    SLOW = "slow"
    CONFLICT = "conflict"
    LENGTH_REQUIRED = "length_required"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    LATE = "late"


_KINDS: Final[tuple[tuple[type[MillraceError], HTTPStatus, Code], ...]] = (
    (UnknownCallerError, HTTPStatus.UNAUTHORIZED, Code.UNKNOWN_CALLER),
    (ForbiddenError, HTTPStatus.FORBIDDEN, Code.FORBIDDEN),
    (TooManyAttemptsError, HTTPStatus.TOO_MANY_REQUESTS, Code.RATE_LIMITED),
    (NotFoundError, HTTPStatus.NOT_FOUND, Code.NOT_FOUND),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.TOO_LARGE),
    (ConflictError, HTTPStatus.CONFLICT, Code.CONFLICT),
    (LengthRequiredError, HTTPStatus.LENGTH_REQUIRED, Code.LENGTH_REQUIRED),
    (RateLimitedError, HTTPStatus.TOO_MANY_REQUESTS, Code.RATE_LIMITED),
    (SlowRequestError, HTTPStatus.REQUEST_TIMEOUT, Code.SLOW),
    (LateError, HTTPStatus.GATEWAY_TIMEOUT, Code.LATE),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE),
    (RequestError, HTTPStatus.BAD_REQUEST, Code.INVALID),
    (InvalidRecordError, HTTPStatus.BAD_REQUEST, Code.INVALID),
    (MillraceError, HTTPStatus.INTERNAL_SERVER_ERROR, Code.FAILED),
)
"""The first that fits counts: subclasses stand before their bases."""

_CODES: Final[Mapping[int, Code]] = {
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: Code.NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.TOO_LARGE,
}


def refuse(error: MillraceError) -> Response:
    """The answer to a request that ended in this error."""
    status, code = next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))
    headers = {"www-authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if (wait := seconds_to_wait(error)) is not None:
        headers["retry-after"] = str(wait)
    return _response(status, code, error.message, error.remedy, headers)


def refuse_status(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer where the framework already knows the status."""
    code = _CODES.get(status, Code.FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Code.INVALID)
    return _response(status, code, message, "", headers)


def _response(status: int, code: Code, message: str, remedy: str, headers: Mapping[str, str] | None) -> Response:
    body = {"error": message, "remedy": remedy, "code": code}
    return Response(orjson.dumps(body), status, dict(headers or {}), JSON)
