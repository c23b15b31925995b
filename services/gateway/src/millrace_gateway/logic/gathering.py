"""How long to listen for more requests before those that are here are scored."""

from typing import Final

LONGEST_SECS: Final = 0.001
"""Longest time in which requests that come one after the other are read before any of them is scored."""
LULL_SECS: Final = 0.0002
"""A silence of this length ends it. The library of gRPC lets one call in at a time, about 0.1 ms each."""
_MOST_SKIPS: Final = 64
"""Gatherings without a lull between two trials, where no lull ever brings anything."""


class Gathering:
    """Decides when the requests of a micro-batch are together.

    What is there is read to its end. Whether a lull is then waited for depends on what lulls brought before: a
    gathering in which one brought a request is worth the next, one in vain is not tried again for twice as many
    gatherings as the one before. So a lonely connection is not kept waiting, nor are many whose requests come all at
    once; and calls that a library lets in one after the other are scored together.
    """

    def __init__(self) -> None:
        self._skips = 0
        self._skips_left = 0
        self._known = 0
        self._until = 0.0
        self._lull_ends: float | None = None
        self._has_paid = False

    def begin(self, waiting: int, *, now: float) -> None:
        """A request came, and nothing is being gathered.

        Args:
            waiting: Requests that wait, this one included.
            now: Monotonic seconds.
        """
        self._known = waiting
        self._until = now + LONGEST_SECS
        self._lull_ends = None
        self._has_paid = False

    def is_over(self, waiting: int, *, now: float) -> bool:
        """Whether to score now what waits; asked at every turn of the event loop after `begin`."""
        has_more = waiting > self._known
        self._known = waiting
        if has_more:
            if self._lull_ends is not None:
                self._has_paid = True
                self._skips = 0
            self._lull_ends = None
            return now >= self._until
        if self._lull_ends is None:
            if self._skips_left:
                self._skips_left -= 1
                return True
            self._lull_ends = now + LULL_SECS
        if now >= self._lull_ends:
            if not self._has_paid:
                self._skips = self._skips_left = min(max(1, 2 * self._skips), _MOST_SKIPS)
            return True
        return now >= self._until
