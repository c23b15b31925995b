"""Work that is done again and again on a thread of its own, and that somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Final

from millrace.core.clock import Clock
from millrace.core.errors import FatalError, MillraceError

LONGEST_TURN: Final = timedelta(seconds=60)
"""Work that has not come round for so long hangs: every wait in it is shorter."""


class Repeated:
    """A thread that repeats its work; made by `repeated`."""

    def __init__(self, work: Callable[[], None], every: timedelta, clock: Clock, *, name: str, until: Event) -> None:
        self._work, self._every, self._clock = work, every.total_seconds(), clock
        self._until = until
        self._failure: MillraceError | None = None
        self._turned = clock.monotonic()
        self.thread = Thread(target=self._run, name=name)

    def check(self) -> None:
        """Raise what ended the work early.

        Raises:
            MillraceError: What the work raised.
            FatalError: It ended, and nobody knows why.
        """
        if self._failure is not None:
            raise self._failure
        if not self.thread.is_alive():
            raise FatalError(f"the thread {self.thread.name!r} ended", remedy="read the log above, and report it")

    def hangs(self) -> str:
        """That the work hangs, in one line for a person; empty where it does not."""
        silence = self._clock.monotonic() - self._turned
        if silence <= LONGEST_TURN.total_seconds():
            return ""
        return f"the thread {self.thread.name!r} has not come round for {silence:.0f} s"

    def _run(self) -> None:
        try:
            while not self._until.is_set():
                self._work()
                self._turned = self._clock.monotonic()
                self._until.wait(self._every)
        except MillraceError as error:
            self._failure = error


@contextmanager
def repeated(
    work: Callable[[], None], every: timedelta, clock: Clock, *, name: str, until: Event | None = None
) -> Iterator[Repeated]:
    """Repeat work while inside, with a pause of `every` between, or until an event."""
    stop = until or Event()
    made = Repeated(work, every, clock, name=name, until=stop)
    made.thread.start()
    try:
        yield made
    finally:
        stop.set()
        made.thread.join()
