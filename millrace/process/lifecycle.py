"""How a process of millrace stops: once asked it drains, twice asked it aborts and leaves.

Nothing here is lost on an abort: what was not committed is scored again by whoever comes next.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import Enum, IntEnum
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError, RequestError

DRAIN: Final = timedelta(seconds=8)
"""Default time to drain: below the transaction timeout (10 s), so that a commit in hand can still succeed, and below
the delay after which supervisors kill (10 s for containers)."""


class ExitCode(IntEnum):
    """What a supervisor learns from the end of a process."""

    DONE = 0
    """Stopped as asked, or nothing left to do; everything in hand was committed."""
    FAILED = 1
    """Could not go on. Starting again may help."""
    REFUSED = 2
    """Settings or a command that cannot be carried out. Starting again with the same ones does not help."""
    ABORTED = 3
    """Stopped before everything in hand was committed: asked twice, or out of time."""


class Phase(Enum):
    """What the main loop is to do."""

    RUNNING = "running"
    DRAINING = "draining"
    """Take nothing new, finish and commit what is in hand."""
    ABORTING = "aborting"
    """Drop what is in hand and leave."""


class Shutdown:
    """The wish that this process stops. Requested by signals, read by the main loop; safe from any thread.

    Args:
        drain: Time from the first request until draining becomes aborting.
        clock: Tells the time.
    """

    def __init__(self, *, clock: Clock, drain: timedelta = DRAIN) -> None:
        self._clock = clock
        self._drain = drain
        self._deadline: float | None = None
        self._wakes = SimpleQueue[None]()
        self._repeated = False

    def request(self) -> None:
        """Ask to drain; ask again to abort.

        Called by signal handlers, between any two instructions of a main loop that may be inside `wait`. So not an
        Event, whose `set` takes the lock that its `wait` holds: a `SimpleQueue` is made for it.
        """
        if self._deadline is not None:
            self._repeated = True
        else:
            self._deadline = self._clock.monotonic() + self._drain.total_seconds()
        self._wakes.put(None)

    def phase(self) -> Phase:
        """What the main loop is to do now."""
        if self._deadline is None:
            return Phase.RUNNING
        if self._repeated or self._clock.monotonic() >= self._deadline:
            return Phase.ABORTING
        return Phase.DRAINING

    @property
    def is_requested(self) -> bool:
        """Whether anybody asked."""
        return self._deadline is not None

    @property
    def drain(self) -> timedelta:
        """Time from the first request until draining becomes aborting."""
        return self._drain

    def wait(self, timeout: timedelta) -> bool:
        """Wait until somebody asks, at most `timeout`, and say whether anybody did. For loops with nothing to poll."""
        if not self.is_requested:
            with suppress(Empty):
                self._wakes.get(timeout=timeout.total_seconds())
                self._wakes.put(None)  # for others that wait
        return self.is_requested


@contextmanager
def stop_on_signals(shutdown: Shutdown) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT request a shutdown. Main thread only; earlier handlers come back at the end."""

    def request(signum: int, frame: FrameType | None) -> None:
        shutdown.request()

    earlier = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def run(work: Callable[[], None], *, shutdown: Shutdown, report: Callable[[MillraceError], None]) -> ExitCode:
    """Do the work of a process and say how it ended. Every `main()` returns this to the shell.

    Args:
        work: Returns when it is done or when `shutdown` was obeyed.
        shutdown: Requested by SIGTERM and SIGINT meanwhile.
        report: Told of the error that ended the work; other exceptions are bugs and pass through.
    """
    try:
        with stop_on_signals(shutdown):
            work()
    except MillraceError as error:
        report(error)
        return ExitCode.REFUSED if isinstance(error, RequestError) else ExitCode.FAILED
    return ExitCode.ABORTED if shutdown.phase() is Phase.ABORTING else ExitCode.DONE
