"""Processes that this one started, or an earlier one of its kind: whether they live, and how they end."""

import signal
from contextlib import suppress
from datetime import timedelta

import psutil


def has_ended(child: int) -> bool:
    """Whether a child of this process is over.

    Not by its command line, which is empty for a moment while the new program takes the place of this one.
    """
    try:
        process = psutil.Process(child)
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        process.wait(0)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return True


def end(process: psutil.Process, how: signal.Signals, limit: timedelta) -> None:
    """Send a process a signal and wait until it is over; one that is not over in time is killed."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)
        try:
            process.wait(limit.total_seconds())
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
