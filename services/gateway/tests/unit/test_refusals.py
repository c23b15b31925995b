"""Each error has one status at each door."""

import asyncio
from datetime import timedelta
from typing import cast

import grpc
import orjson
import pytest

from millrace.core.control.keys import ForbiddenError, TooManyAttemptsError, UnknownCallerError
from millrace.core.errors import FatalError, InvalidRecordError, MillraceError, Reason, RequestError, TransientError
from millrace_gateway.adapters.grpc.refusals import refuse as refuse_call
from millrace_gateway.adapters.grpc.refusals import status_of
from millrace_gateway.adapters.rest.refusals import refuse
from millrace_gateway.logic.errors import (
    BusyError,
    LateError,
    LengthRequiredError,
    NotFoundError,
    RateLimitedError,
    SlowRequestError,
    TooLargeError,
)

TOO_MANY = TooManyAttemptsError("x", remedy="", retry_after=timedelta(seconds=60))


class Context:
    """Keeps what a call is ended with."""

    def __init__(self) -> None:
        self.trailing: dict[str, str] = {}

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = dict(metadata)

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        assert details


@pytest.mark.parametrize(
    ("error", "http", "code", "status"),
    [
        (RequestError("x"), 400, "invalid", grpc.StatusCode.INVALID_ARGUMENT),
        (InvalidRecordError(Reason.MODEL_ERROR, "x"), 400, "invalid", grpc.StatusCode.INVALID_ARGUMENT),
        (UnknownCallerError("x"), 401, "unknown_caller", grpc.StatusCode.UNAUTHENTICATED),
        (ForbiddenError("x"), 403, "forbidden", grpc.StatusCode.PERMISSION_DENIED),
        (TOO_MANY, 429, "rate_limited", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (NotFoundError("x"), 404, "not_found", grpc.StatusCode.NOT_FOUND),
        (SlowRequestError("x"), 408, "slow", grpc.StatusCode.DEADLINE_EXCEEDED),
        (LengthRequiredError("x"), 411, "length_required", grpc.StatusCode.INVALID_ARGUMENT),
        (TooLargeError("x"), 413, "too_large", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (RateLimitedError("x"), 429, "rate_limited", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (FatalError("x"), 500, "failed", grpc.StatusCode.INTERNAL),
        (BusyError("x"), 503, "unavailable", grpc.StatusCode.UNAVAILABLE),
        (TransientError("x"), 503, "unavailable", grpc.StatusCode.UNAVAILABLE),
        (LateError("x"), 504, "late", grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_each_error_has_its_status(error: MillraceError, http: int, code: str, status: grpc.StatusCode) -> None:
    response = refuse(error)
    assert (response.status_code, orjson.loads(response.body)["code"]) == (http, code)
    assert status_of(error) is status
    assert ("retry-after" in response.headers) == (http in {429, 503})


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (BusyError("full", retry_after=timedelta(seconds=2.1)), "3"),
        (RateLimitedError("often", retry_after=timedelta(milliseconds=3)), "1"),
        (TransientError("away"), "1"),
        (TooLargeError("large"), None),
        (LateError("late"), None),
    ],
)
def test_both_doors_say_alike_when_to_come_back(error: MillraceError, wait: str | None) -> None:
    context = Context()
    asyncio.run(refuse_call(cast("grpc.aio.ServicerContext[bytes, bytes]", context), error))
    assert context.trailing == ({} if wait is None else {"retry-after": wait})
    assert refuse(error).headers.get("retry-after") == wait
