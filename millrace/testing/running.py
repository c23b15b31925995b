"""A service at work inside the test's own process: as its composition root makes it, but for signals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from millrace.core.errors import MillraceError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import Shutdown


@contextmanager
def at_work(run: Callable[[Shutdown], None], *, name: str) -> Iterator[None]:
    """Run a service on a thread of this name while inside, and ask it to stop at the end.

    Raises:
        MillraceError: What ended the service early; raised at the end.
    """
    shutdown = Shutdown(clock=SystemClock())
    failures: list[MillraceError] = []

    def work() -> None:
        try:
            run(shutdown)
        except MillraceError as error:
            failures.append(error)

    thread = Thread(target=work, name=name)
    thread.start()
    try:
        yield
    finally:
        shutdown.request()
        thread.join()
    if failures:
        raise failures[0]
