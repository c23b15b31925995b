"""Processes that this one started, or an earlier one of its kind: whether they live, and how they end."""

import signal
import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

import psutil

_POLL_SECS: Final = 0.02


def has_ended(child: int) -> bool:
    """Whether a child of this process is over.

    Not by its command line, which is empty for a moment while the new program takes the place of this one.
    """
    try:
        return _is_over(psutil.Process(child))
    except psutil.NoSuchProcess:
        return True


def await_end(process: psutil.Process, limit: timedelta) -> bool:
    """Wait until a process is over, at most `limit`, and say whether it is.

    One that another process started is over when its program is: whoever started it may never ask how it ended, or may
    wait for us. (`psutil.Process.wait` waits for that, too.)
    """
    give_up = time.monotonic() + limit.total_seconds()
    while not _is_over(process):
        if time.monotonic() >= give_up:
            return False
        time.sleep(_POLL_SECS)
    return True


def end(process: psutil.Process, how: signal.Signals, limit: timedelta) -> None:
    """Send a process a signal and wait until it is over; one that is not over in time is killed."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)
        if not await_end(process, limit):
            process.kill()
            await_end(process, timedelta.max)


def _is_over(process: psutil.Process) -> bool:
    try:
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return False
        if process.num_threads() > 1:  # The first thread has ended; the others still hold the files and the ports.
            return False
        process.wait(0)  # If it was our child its entry goes.
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return True
