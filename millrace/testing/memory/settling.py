"""The settling of an imaginary process: beside whatever else it does, and yet no thread."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import ParamSpec, TypeVar

from millrace.kafka.lane.settling import fulfil

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Settler(Executor):
    """Takes the steps that it is given in their order, one whenever the process has come to `pace` points.

    Whoever asks for a result lets it take all steps up to that one, as who waits for a thread does. What ends the whole
    process in the middle of a step is raised to whatever the process was doing meanwhile.

    Args:
        pace: 0 takes every step at once.
    """

    def __init__(self, pace: int) -> None:
        self.pace = pace
        self._steps: deque[Callable[[], None]] = deque()
        self._points = 0
        self._is_busy = False

    def submit(self, step: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs) -> Future[Result]:
        """Take this step when its time has come."""
        future = _Awaited[Result](self)
        self._steps.append(partial(fulfil, future, partial(step, *args, **kwargs)))
        if not self.pace:
            self.take()
        return future

    def passed(self) -> None:
        """The process has come to a point; those inside a step do not count."""
        self._points += not self._is_busy
        if self.pace and not self._is_busy and self._points % self.pace == 0:
            self.take()

    def take(self) -> None:
        """Take the next step, if there is one."""
        if not self._steps:
            return
        self._is_busy = True
        try:
            self._steps.popleft()()
        finally:
            self._is_busy = False


class _Awaited(Future[Result]):
    """A result that comes when somebody asks for it."""

    def __init__(self, settler: Settler) -> None:
        super().__init__()
        self._settler = settler

    def result(self, timeout: float | None = None) -> Result:
        self._wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait()
        return super().exception(timeout)

    def _wait(self) -> None:
        while not self.done():
            self._settler.take()
