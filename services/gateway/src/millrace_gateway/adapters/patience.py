"""How long a gateway that stops waits for what is in hand."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from millrace.core.clock import Clock
from millrace.process.lifecycle import Phase, Shutdown

_TURN: Final = timedelta(milliseconds=20)


class Patience:
    """Waits for what is in hand: at most so long, and no longer at all once the process is asked a second time to stop.

    The time begins when somebody first asks whether it is over. For one thread.

    Args:
        shutdown: The wish to stop.
        clock: Tells the time.
        most: Longest wait, of all waits together.
    """

    def __init__(self, shutdown: Shutdown, clock: Clock, *, most: timedelta) -> None:
        self._shutdown = shutdown
        self._clock = clock
        self._most = most
        self._until: float | None = None

    def is_over(self) -> bool:
        """Whether what is not done by now is dropped."""
        now = self._clock.monotonic()
        if self._until is None:
            self._until = now + self._most.total_seconds()
        return now >= self._until or self._shutdown.phase() is Phase.ABORTING

    async def covers(self, work: "asyncio.Task[Any]") -> bool:
        """Wait until this is done; False, and it goes on, where patience was over first.

        Raises:
            BaseException: What the work raised.
        """
        while not work.done() and not self.is_over():
            await asyncio.wait({work}, timeout=_TURN.total_seconds())
        if work.done():
            work.result()
        return work.done()
