"""The ways in which a request is refused. Doors map them to their own codes; nothing below a door knows any.

Under `RequestError`, what cannot be as asked: `NotFoundError`, `TooLargeError`, `ConflictError`, `LengthRequiredError`.
Under `TransientError`, what may succeed later: `BusyError` and `RateLimitedError`, which say when, `SlowRequestError`,
`LateError`.
"""

from datetime import timedelta
from math import ceil
from typing import Final

from millrace.core.control.keys import TooManyAttemptsError
from millrace.core.errors import MillraceError, RequestError, TransientError

RETRY_AFTER: Final = timedelta(seconds=1)
"""When to come back where nothing better is known."""


class NotFoundError(RequestError):
    """There is no such thing."""


class TooLargeError(RequestError):
    """The request is beyond a bound of this gateway."""


class ConflictError(RequestError):
    """The thing stands elsewhere than the client believes."""


class LengthRequiredError(RequestError):
    """The request has a body of unknown length where its length must be known."""


class SlowRequestError(TransientError):
    """The request did not arrive in the time that it may take."""


class LateError(TransientError):
    """The answer would come after the deadline of the request."""


class BusyError(TransientError):
    """There is no room now.

    Args:
        message: What is full.
        remedy: What to do.
        retry_after: When there may be room.
    """

    def __init__(self, message: str, *, remedy: str = "", retry_after: timedelta = RETRY_AFTER) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class RateLimitedError(BusyError):
    """This client asks more often than it may."""


def seconds_to_wait(error: MillraceError) -> int | None:
    """When to come back after this error, in whole seconds and at least one; None where coming back does not help."""
    if isinstance(error, BusyError | TooManyAttemptsError):
        return max(1, ceil(error.retry_after.total_seconds()))
    if isinstance(error, TransientError) and not isinstance(error, SlowRequestError | LateError):
        return ceil(RETRY_AFTER.total_seconds())
    return None
