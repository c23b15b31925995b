"""Where a lane settles its transactions: beside its caller, on one thread of its own, or on the caller's."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from millrace.kafka.lane.triage import StepError

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Here(Executor):
    """Does what it is given before `submit` returns, on the thread that calls it."""

    def submit(self, step: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs) -> Future[Result]:
        """Do it now. Anything but a StepError is raised here and not kept for whoever asks for the result."""
        future: Future[Result] = Future()
        fulfil(future, partial(step, *args, **kwargs))
        return future


def fulfil(future: Future[Result], step: Callable[[], Result]) -> None:
    """Take a step. Its result, or a StepError, is for whoever asks for it; anything else is raised here."""
    try:
        future.set_result(step())
    except StepError as error:
        future.set_exception(error)


def beside() -> Executor:
    """One thread, from the first step on until shutdown. Between steps it waits without looking at anything."""
    return ThreadPoolExecutor(1, "settling")
