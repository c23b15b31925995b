"""Where a lane settles its transactions: beside its caller, on one thread of its own, or on the caller's."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from millrace.kafka.lane.triage import StepError

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Here(Executor):
    """Does what it is given before `submit` returns, on the thread that calls it."""

    def submit(self, step: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs) -> Future[Result]:
        """Do it now. Anything but a StepError is raised here and not kept for whoever asks for the result."""
        future: Future[Result] = Future()
        try:
            future.set_result(step(*args, **kwargs))
        except StepError as error:
            future.set_exception(error)
        return future


def beside() -> Executor:
    """One thread, from the first step on until shutdown. Between steps it waits without looking at anything."""
    return ThreadPoolExecutor(1, "settling")
