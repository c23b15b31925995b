import os
import signal
from io import StringIO

import pytest
from rich.console import Console

from examples.weather.__main__ import INTERRUPTED, exit_code
from examples.weather.interruption import Interruption
from millrace.core.errors import TransientError

SLOW = TransientError("node a does not stop", remedy="read its log")


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=100)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_an_error_is_said_and_is_the_end(console: Console) -> None:
    def play() -> int:
        raise SLOW

    assert exit_code(play, Interruption(), console) == 1
    assert said(console) == "error: node a does not stop\nremedy: read its log\n"


def test_an_interrupt_is_the_end_although_something_fails_after_it(console: Console) -> None:
    interruption = Interruption()

    def play() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            interruption.check()
        finally:
            raise SLOW  # As a daemon that takes too long to leave.

    assert exit_code(play, interruption, console) == INTERRUPTED
    assert "node a does not stop" in said(console)
    assert "is stopped" not in said(console), "nobody knows that"


def test_an_interrupt_that_nothing_follows_has_stopped_everything(console: Console) -> None:
    interruption = Interruption()

    def play() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        interruption.check()
        return 0

    assert exit_code(play, interruption, console) == INTERRUPTED
    assert said(console) == "interrupted; everything that was started is stopped\n"
    assert exit_code(lambda: 0, Interruption(), console) == 0
