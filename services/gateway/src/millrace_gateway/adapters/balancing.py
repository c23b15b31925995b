"""Where requests come from: straight to this worker, or through HAProxy, which is told of its comings and goings.

Stopping is the same either way: no new requests, then what is in hand, then the end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from millrace.core.errors import MillraceError
from millrace_gateway.adapters.haproxy import HaproxyPlace
from millrace_gateway.adapters.patience import Patience

log = structlog.get_logger()

_TURN_SECS = 0.02


@asynccontextmanager
async def behind_haproxy(
    place: HaproxyPlace | None,
    *,
    rest_port: int,
    grpc_port: int,
    patience: Patience,
    end_streams: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """Get requests through HAProxy while inside; without a place, do nothing.

    Leaving waits until HAProxy has nothing in hand with this worker, as long as patience lasts. Streams, which never
    end by themselves, are ended as soon as their clients would come back to another worker.

    Raises:
        TransientError: HAProxy does not answer at the start.
        RequestError: It has no place for this worker.
    """
    if place is None:
        yield
        return
    await asyncio.to_thread(place.open, rest_port=rest_port, grpc_port=grpc_port)
    try:
        yield
    finally:
        leaving = asyncio.create_task(_leave(place, end_streams))
        if not await patience.covers(leaving):
            log.warning("requests in hand were not over in time")
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


async def _leave(place: HaproxyPlace, end_streams: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.to_thread(place.close)
        await end_streams()
        await asyncio.sleep(_TURN_SECS)  # what was dealt out a moment ago may not be counted yet
        while await asyncio.to_thread(place.requests):
            await asyncio.sleep(_TURN_SECS)
    except MillraceError as error:
        log.warning("stopping without HAProxy's knowledge", reason=error.message)
