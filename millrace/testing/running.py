"""At work in the test's own process: a service, as its composition root makes it but for signals; or a small server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from threading import Thread
from typing import TypeVar

from millrace.core.errors import MillraceError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import Shutdown

Server = TypeVar("Server", bound=BaseServer)


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


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server of the standard library answer on a thread while inside; it is closed at the end."""
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="server")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
