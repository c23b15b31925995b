"""Errors as gRPC statuses; the details are the error's line, with its remedy."""

from typing import Final, NoReturn

import grpc

from millrace.core.control.keys import ForbiddenError, TooManyAttemptsError, UnknownCallerError
from millrace.core.errors import InvalidRecordError, MillraceError, RequestError, TransientError
from millrace_gateway.logic.errors import (
    LateError,
    NotFoundError,
    RateLimitedError,
    SlowRequestError,
    TooLargeError,
    seconds_to_wait,
)

Status = grpc.StatusCode

_STATUSES: Final[tuple[tuple[type[MillraceError], grpc.StatusCode], ...]] = (
    (UnknownCallerError, Status.UNAUTHENTICATED),
    (ForbiddenError, Status.PERMISSION_DENIED),
    (TooManyAttemptsError, Status.RESOURCE_EXHAUSTED),
    (NotFoundError, Status.NOT_FOUND),
    (TooLargeError, Status.RESOURCE_EXHAUSTED),
    (RateLimitedError, Status.RESOURCE_EXHAUSTED),
    (SlowRequestError, Status.DEADLINE_EXCEEDED),
    (LateError, Status.DEADLINE_EXCEEDED),
    (TransientError, Status.UNAVAILABLE),
    (RequestError, Status.INVALID_ARGUMENT),
    (InvalidRecordError, Status.INVALID_ARGUMENT),
    (MillraceError, Status.INTERNAL),
)
"""The first that fits counts: subclasses stand before their bases."""


def status_of(error: MillraceError) -> grpc.StatusCode:
    """The status of a call that ended in this error."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


async def refuse(context: "grpc.aio.ServicerContext[bytes, bytes]", error: MillraceError) -> NoReturn:
    """End a call; the trailing metadata `retry-after` says in seconds when to come back, as the header over HTTP."""
    if (wait := seconds_to_wait(error)) is not None:
        context.set_trailing_metadata((("retry-after", str(wait)),))
    await context.abort(status_of(error), str(error))
