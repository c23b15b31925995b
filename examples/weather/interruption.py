"""An interrupt that is not lost: the wish that the story ends, and the places at which it is obeyed."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from examples.weather.display import Display, OnStep

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor, a closed terminal: the same orderly end."""


class Interruption:
    """Asked for by a signal; obeyed at the next place that looks, where everything that runs has an owner.

    A KeyboardInterrupt out of a signal handler comes between any two instructions: where Python must swallow it, as in
    a finalizer, or after a process was started and before anybody knew. Here only the second signal raises one.
    """

    def __init__(self) -> None:
        self._is_asked = False

    @property
    def is_asked(self) -> bool:
        """Whether somebody wants the story to end."""
        return self._is_asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While inside, signals ask. Main thread only; earlier handlers come back at the end.

        A script that starts us with `&` has SIGINT ignored, which Python leaves so; who sends it means it. Ignored
        SIGHUP stays ignored, because that is what `nohup` is for.
        """
        meant = [each for each in _SIGNALS if (each, signal.getsignal(each)) != (signal.SIGHUP, signal.SIG_IGN)]
        earlier = {each: signal.signal(each, self._ask) for each in meant}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Go on unless somebody asked.

        Raises:
            KeyboardInterrupt: Somebody did.
        """
        if self._is_asked:
            raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """Sleep for a moment, then go on unless somebody asked.

        Raises:
            KeyboardInterrupt: Somebody did.
        """
        time.sleep(seconds)
        self.check()

    @contextmanager
    def step(self, display: Display, title: str) -> Iterator[OnStep]:
        """A step of the story, which looks when it begins, when it is done and whenever its progress is told.

        Raises:
            KeyboardInterrupt: Somebody asked.
        """
        self.check()
        with display.step(title) as on_step:

            def report(note: str, done: int, total: int | None) -> None:
                self.check()
                on_step(note, done, total)

            yield report
        self.check()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True
