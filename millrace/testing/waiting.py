"""Waiting in tests: on a condition, with a deadline, never for a time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

Result = TypeVar("Result")

_PATIENCE: Final = timedelta(seconds=60)
"""Long, because a busy machine proves nothing, and free for whoever is not kept waiting."""

_PAUSE_SECS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in monotonic time. Waits that share one end together.

    Attributes:
        at_secs: The point, in seconds of `time.monotonic`.
    """

    at_secs: float

    @classmethod
    def after(cls, span: timedelta) -> "Deadline":
        """The deadline that is `span` from now."""
        return cls(time.monotonic() + span.total_seconds())

    @property
    def left(self) -> timedelta:
        """How long until then; zero once it has passed."""
        return timedelta(seconds=max(0.0, self.at_secs - time.monotonic()))

    @property
    def has_passed(self) -> bool:
        """Whether it is over."""
        return not self.left


def eventually(
    condition: Callable[[], Result], *, within: timedelta = _PATIENCE, what: str = "the condition"
) -> Result:
    """Call `condition` until what it returns is true, and return that.

    An AssertionError of the condition counts as "not yet", so that it may be written with `assert`.

    Args:
        condition: Asked again and again, at least once.
        within: When to give up.
        what: What is waited for, for the failure's text.

    Raises:
        AssertionError: It did not come true in time. The condition's last AssertionError is the cause.
    """
    deadline = Deadline.after(within)
    while True:
        refusal: AssertionError | None = None
        try:
            if result := condition():
                return result
        except AssertionError as error:
            refusal = error
        if deadline.has_passed:
            raise AssertionError(f"{what} did not come true within {within.total_seconds():g} s") from refusal
        time.sleep(_PAUSE_SECS)
