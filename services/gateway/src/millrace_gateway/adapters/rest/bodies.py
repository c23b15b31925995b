"""Bodies of requests, read whole within a bound of bytes and of time."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import ClientDisconnect, Request

from millrace_gateway.logic.errors import LengthRequiredError, SlowRequestError, TooLargeError


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds of a request's body.

    Attributes:
        size_bytes: Longest body.
        within: Longest time for it to arrive.
    """

    size_bytes: int
    within: timedelta


async def read_body(request: Request, *, limit_bytes: int, within: timedelta) -> bytes:
    """The body of a request, counted as it arrives, in chunks too.

    Raises:
        LengthRequiredError: The request says neither a length nor that it comes in chunks.
        TooLargeError: It is longer than the bound; said as soon as that is known.
        SlowRequestError: It did not arrive in time.
    """
    headers = request.headers
    length = headers.get("content-length")
    if length is None and "transfer-encoding" not in headers:
        raise LengthRequiredError("the request has no Content-Length", remedy="send one, or send the body in chunks")
    if length is not None and int(length) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within.total_seconds()):
            async for piece in request.stream():
                size += len(piece)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                pieces.append(piece)
    except TimeoutError:
        raise SlowRequestError(
            f"the body did not arrive within {within.total_seconds():g} s", remedy="send it faster, or in parts"
        ) from None
    except ClientDisconnect:
        raise SlowRequestError("the client hung up") from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"the body is longer than {limit_bytes} bytes",
        remedy="send less at a time, or raise MILLRACE_GATEWAY__LIMITS__BODY_BYTES",
    )
