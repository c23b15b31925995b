"""A clock that stands still until a test moves it."""

from datetime import timedelta


class ManualClock:
    """Time for tests. See `millrace.core.clock.Clock`.

    >>> clock = ManualClock(wall_ms=1_000)
    >>> clock.advance(timedelta(seconds=2))
    >>> clock.wall_ms(), clock.monotonic()
    (3000, 2.0)
    """

    def __init__(self, *, wall_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = wall_ms
        self._passed = timedelta(0)

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._start_ms + self._passed // timedelta(milliseconds=1)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed.total_seconds()

    def advance(self, span: timedelta) -> None:
        """Let time pass."""
        if span < timedelta(0):
            raise ValueError(f"time does not go back by {-span}")
        self._passed += span
