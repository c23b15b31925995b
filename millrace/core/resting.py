"""How a challenger that is bad is kept from costing much: it rests after it failed or was slow."""

from datetime import timedelta
from typing import Final

from millrace.core.clock import Clock

_REST: Final = 9.0
"""A challenger that fails or is slow rests so many times as long as it took: it costs a tenth of the time at most."""

_LEAST_LOSS_SECS: Final = 0.1
"""What a failure counts for at least: one that comes at once shall not come in every batch."""


class Rest:
    """Whether a challenger that failed or was slow may be asked again.

    Args:
        clock: Tells the time.
        allowance: One that takes longer for a batch is slow.
    """

    def __init__(self, clock: Clock, allowance: timedelta) -> None:
        self._clock = clock
        self._allowance = allowance.total_seconds()
        self._until = clock.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether it may be asked."""
        return self._clock.monotonic() >= self._until

    def after(self, seconds: float) -> str | None:
        """It has answered, after so long. Returns what is wrong with that."""
        if seconds <= self._allowance:
            return None
        self._begin(seconds)
        return f"it took {seconds:.3f} s for a batch, and {self._allowance:.3f} s are allowed"

    def after_failure(self, seconds: float) -> None:
        """It has failed, after so long."""
        self._begin(max(seconds, _LEAST_LOSS_SECS))

    def _begin(self, seconds: float) -> None:
        self._until = self._clock.monotonic() + _REST * seconds
