import os
import signal
import sys
from datetime import timedelta
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import ExitCode, Phase, Shutdown, run, stop_on_signals
from millrace.testing.clock import ManualClock

if TYPE_CHECKING:
    from _typeshed import TraceFunction


def unexpected(error: MillraceError) -> None:
    raise AssertionError(error)


def bug(divisor: int) -> None:
    assert 1 // divisor


@pytest.fixture
def shutdown(clock: ManualClock) -> Shutdown:
    return Shutdown(clock=clock, drain=timedelta(seconds=8))


def test_nobody_asked_so_it_runs(shutdown: Shutdown) -> None:
    assert shutdown.phase() is Phase.RUNNING
    assert not shutdown.is_requested
    assert not shutdown.wait(timedelta(0))


def test_asked_once_it_drains(shutdown: Shutdown) -> None:
    shutdown.request()
    assert shutdown.phase() is Phase.DRAINING
    assert shutdown.wait(timedelta(0))


def test_asked_twice_it_aborts(shutdown: Shutdown) -> None:
    shutdown.request()
    shutdown.request()
    assert shutdown.phase() is Phase.ABORTING


def test_a_drain_that_takes_too_long_becomes_an_abort(shutdown: Shutdown, clock: ManualClock) -> None:
    shutdown.request()
    clock.advance(timedelta(seconds=7.9))
    assert shutdown.phase() is Phase.DRAINING
    clock.advance(timedelta(seconds=0.1))
    assert shutdown.phase() is Phase.ABORTING


def test_whoever_waits_is_told_wherever_in_its_wait_the_signal_comes() -> None:
    line = 1
    while interrupt_a_wait(line):
        line += 1
    assert line > 3


def interrupt_a_wait(line: int) -> bool:
    """Whether a wait has so many lines. A signal handler runs between any two; here a request comes before that one."""
    shutdown, passed = Shutdown(clock=SystemClock()), 0

    def trace(_frame: FrameType, event: str, _argument: object) -> "TraceFunction":
        nonlocal passed
        passed += event == "line"
        if passed == line and not shutdown.is_requested:
            shutdown.request()
        return trace

    def wait() -> None:
        sys.settrace(trace)
        shutdown.wait(timedelta(milliseconds=1))
        sys.settrace(None)

    waiting = Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(60)
    assert not waiting.is_alive(), f"it hangs when it is asked before line {line}"
    assert shutdown.is_requested == (passed >= line)
    return passed >= line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_and_earlier_handlers_come_back(shutdown: Shutdown, number: signal.Signals) -> None:
    earlier = signal.getsignal(number)
    with stop_on_signals(shutdown):
        os.kill(os.getpid(), number)
        assert shutdown.phase() is Phase.DRAINING
        os.kill(os.getpid(), number)
        assert shutdown.phase() is Phase.ABORTING
    assert signal.getsignal(number) is earlier


def test_work_that_ends_by_itself_is_done(shutdown: Shutdown) -> None:
    assert run(lambda: None, shutdown=shutdown, report=unexpected) is ExitCode.DONE


def test_a_drain_in_time_is_done_and_an_abort_says_so(shutdown: Shutdown) -> None:
    assert run(shutdown.request, shutdown=shutdown, report=unexpected) is ExitCode.DONE
    assert run(shutdown.request, shutdown=shutdown, report=unexpected) is ExitCode.ABORTED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("no such model"), ExitCode.REFUSED),
        (FatalError("fenced"), ExitCode.FAILED),
        (TransientError("broker away"), ExitCode.FAILED),
    ],
)
def test_errors_are_reported_and_decide_the_code(shutdown: Shutdown, error: MillraceError, code: ExitCode) -> None:
    reported: list[MillraceError] = []

    def fail() -> None:
        raise error

    assert run(fail, shutdown=shutdown, report=reported.append) is code
    assert reported == [error]


def test_a_bug_is_not_an_exit_code(shutdown: Shutdown) -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: bug(0), shutdown=shutdown, report=unexpected)


def test_the_system_clock_goes_forward() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall_ms() > 1_700_000_000_000
