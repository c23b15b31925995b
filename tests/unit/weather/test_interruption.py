import os
import signal
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from examples.weather.display import Display, PlainDisplay
from examples.weather.interruption import Interruption
from millrace.process.clock import SystemClock

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def display() -> Display:
    return PlainDisplay(Console(file=StringIO()), SystemClock())


@pytest.fixture(autouse=True)
def _ignored() -> Iterator[None]:
    """As a process begins that `nohup` started in the background of a script."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_asked_once_is_done_at_the_next_look(number: signal.Signals) -> None:
    interruption = Interruption()
    with interruption.listening():
        interruption.check()
        send(number)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            interruption.pause(0)


def test_what_is_asked_twice_is_done_at_once() -> None:
    with Interruption().listening():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_terminal_that_closes_asks_unless_that_is_to_be_ignored() -> None:
    interruption = Interruption()
    with interruption.listening():
        send(signal.SIGHUP)
        interruption.check()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with interruption.listening():
        send(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_earlier_handlers_come_back() -> None:
    earlier = [signal.getsignal(number) for number in ASKING]
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    assert [signal.getsignal(number) for number in ASKING] == earlier


def test_a_step_looks_before_it_begins_at_its_progress_and_when_it_is_done(display: Display) -> None:
    interruption = Interruption()
    told = list[str]()

    def play(title: str) -> None:
        with interruption.step(display, title) as on_step:
            told.append(f"{title} begun")
            send(signal.SIGINT)
            on_step("half", 1, 2)
            told.append("never")

    with interruption.listening():
        with interruption.step(display, "One") as on_step:
            on_step("half", 1, 2)
        for title in ("Two", "Three"):
            with pytest.raises(KeyboardInterrupt):
                play(title)
    assert told == ["Two begun"]


def test_a_step_without_progress_looks_when_it_is_done(display: Display) -> None:
    interruption = Interruption()
    with interruption.listening(), pytest.raises(KeyboardInterrupt), interruption.step(display, "One"):
        send(signal.SIGINT)
