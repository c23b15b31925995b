import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta

import psutil
import pytest

from millrace.process.children import await_end, end, has_ended
from millrace.testing.waiting import eventually

LONG = timedelta(seconds=60)
IDLE = "import signal; print('up', flush=True)\nwhile True: signal.pause()"
STUBBORN = f"import signal; signal.signal(15, signal.SIG_IGN); {IDLE}"
NEGLIGENT = f"""
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {IDLE!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
while True: signal.pause()
"""
"""Starts a process and never asks how it ended."""
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its first thread ends and another goes on."""

Start = Callable[[str], tuple[psutil.Process, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program and returns it with its first line."""
    started = list[subprocess.Popen[str]]()

    def begin(code: str) -> tuple[psutil.Process, str]:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return psutil.Process(process.pid), process.stdout.readline().strip()

    yield begin
    for each in started:
        with each:
            each.kill()


def test_what_runs_has_not_ended(start: Start) -> None:
    process, _ = start(IDLE)
    assert not has_ended(process.pid)
    assert not await_end(process, timedelta(0))


def test_an_end_is_waited_for(start: Start) -> None:
    process, _ = start(IDLE)
    end(process, signal.SIGTERM, LONG)
    assert has_ended(process.pid)
    end(process, signal.SIGTERM, LONG)  # once more is no fault


def test_what_does_not_end_in_time_is_killed(start: Start) -> None:
    process, _ = start(STUBBORN)
    end(process, signal.SIGTERM, timedelta(milliseconds=10))
    assert has_ended(process.pid)


def test_what_another_process_started_and_forgot_is_over_when_its_program_is(start: Start) -> None:
    _, said = start(NEGLIGENT)
    process = psutil.Process(int(said))
    end(process, signal.SIGTERM, LONG)
    assert process.status() == psutil.STATUS_ZOMBIE
    assert await_end(process, timedelta(0))


@pytest.mark.skipif(sys.platform != "linux", reason="only there does the first thread's end show")
def test_a_process_whose_first_thread_has_ended_is_not_over(start: Start) -> None:
    process, _ = start(HEADLESS)
    eventually(lambda: process.status() == psutil.STATUS_ZOMBIE, what="the first thread's end")
    assert not has_ended(process.pid)
    end(process, signal.SIGTERM, LONG)
    assert has_ended(process.pid)
