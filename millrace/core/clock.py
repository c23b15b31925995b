"""Time as an argument."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to compare with record timestamps, one to measure durations."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as record timestamps count them. May step."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start. Never goes back."""
        ...
