"""The machine's own clocks."""

import time


class SystemClock:
    """Tells the machine's time; a `millrace.core.clock.Clock`."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()
