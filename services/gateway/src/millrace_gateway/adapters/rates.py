"""How often one client may ask: by its key, or by its address where it sends none."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from millrace_gateway.logic.errors import RateLimitedError

KEY_HEADERS: Final = ("x-api-key", "authorization")
"""The first of these that a request has is its key."""

_LONGEST_KEY: Final = 256


class RateLimiter:
    """Counts the requests of each client in a sliding second. For one event loop.

    Args:
        per_second: Most requests of one client; None for any number.
        wall: Seconds since 1970, as the counting library has them.
    """

    def __init__(self, per_second: int | None, *, wall: Callable[[], float] = time.time) -> None:
        self._allowed = None if per_second is None else RateLimitItemPerSecond(per_second)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._wall = wall

    @property
    def is_limited(self) -> bool:
        """Whether there is a bound at all."""
        return self._allowed is not None

    def check(self, headers: Mapping[str, str], address: str) -> None:
        """Count one request.

        Raises:
            RateLimitedError: It is one too many; says when to come back.
        """
        if self._allowed is None:
            return
        client = next((headers[name] for name in KEY_HEADERS if name in headers), address)[:_LONGEST_KEY]
        if not self._limiter.hit(self._allowed, client):
            reset = self._limiter.get_window_stats(self._allowed, client).reset_time
            raise RateLimitedError(
                f"more than {self._allowed.amount} requests a second",
                remedy="wait as Retry-After says, or send several rows in one request",
                retry_after=timedelta(seconds=max(0.0, reset - self._wall())),
            )
