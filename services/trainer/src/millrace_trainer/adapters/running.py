"""Starts the training process, watches it, and says how it ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final

from millrace.core.errors import MillraceError
from millrace.serving.bundle import Bundle, open_bundle

_TURN_SECS: Final = 0.2
_PATIENCE_SECS: Final = 5.0
_LOG_LINES: Final = 40
_LINE_BYTES: Final = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a training process may use.

    Attributes:
        memory_bytes: Most address space.
        cpu: Most processor time.
        wall: Time until it is killed.
        file_bytes: Largest file that it may write.
    """

    memory_bytes: int
    cpu: timedelta
    wall: timedelta
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """Which function to call, and where.

    Attributes:
        function: `package.module:function`.
        folders: Where its module is found besides the installed packages.
        environment: Its environment variables, besides those that keep libraries to themselves.
        threads: Threads of numerical libraries.
        bounds: What it may use.
    """

    function: str
    folders: tuple[Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    bounds: Bounds = Bounds(8 << 30, timedelta(hours=1), timedelta(hours=1), 2 << 30)


class TrainingError(MillraceError):
    """The training function made no candidate.

    Args:
        message: Why, in one line.
        log: The last lines that it wrote.
    """

    def __init__(self, message: str, *, log: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy="correct the training function, and ask again: `millrace retrain`")
        self.log = log


def run_training(call: Call, task: Mapping[str, Any], folder: Path, keep_alive: Callable[[], None]) -> Bundle:
    """Run the function in a process of its own until it ends; blocks for as long as that takes.

    Args:
        call: Which function.
        task: What it is given; see `millrace_trainer.adapters.making`.
        folder: An empty folder; the candidate's bundle is in it afterwards.
        keep_alive: Called a few times a second. What it raises ends the process, and is raised here.

    Raises:
        TrainingError: The function failed, or used more than it may.
    """
    bundle, failure = folder / "bundle", folder / "failure.txt"
    document = {
        **task,
        "function": call.function,
        "folders": list(map(str, call.folders)),
        "scratch": str(folder / "scratch"),
        "bundle": str(bundle),
        "failure": str(failure),
        "limits": {
            "memory_bytes": call.bounds.memory_bytes,
            "cpu_secs": int(call.bounds.cpu.total_seconds()),
            "file_bytes": call.bounds.file_bytes,
        },
    }
    order = folder / "task.json"
    order.write_text(json.dumps(document), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-I", "-u", "-m", "millrace_trainer.adapters.child", str(order)],
        cwd=folder,
        env={**_environment(call.threads, folder), **call.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that what it starts can be killed with it
    )
    tail = _Tail(child.stdout)
    try:
        has_ended = _wait(child, call.bounds.wall, keep_alive)
    finally:
        _kill(child)
        lines = tail.close()
    if not has_ended:
        raise TrainingError(f"the training function did not end within {call.bounds.wall}", log=lines)
    if child.returncode == 0:
        return open_bundle(bundle)
    said = failure.read_text(encoding="utf-8") if failure.exists() else ""
    raise TrainingError(how_it_ended(child.returncode, said, call.bounds), log=lines)


def how_it_ended(code: int, said: str, bounds: Bounds) -> str:
    """Why a training process gave no candidate, in one line."""
    if said.startswith("MemoryError"):
        return f"the training function ran out of its {bounds.memory_bytes} bytes of memory"
    if said:
        return f"the training function failed: {said}"
    if -code == signal.SIGXCPU:
        return f"the training function used up its processor time of {bounds.cpu}"
    if -code == signal.SIGXFSZ:
        return f"the training function wrote a file of more than {bounds.file_bytes} bytes"
    if code < 0:
        return f"the training process was ended by {signal.Signals(-code).name}"
    return f"the training process left with exit code {code}"


def _wait(child: "subprocess.Popen[bytes]", wall: timedelta, keep_alive: Callable[[], None]) -> bool:
    """Whether it ended by itself in time."""
    give_up = time.monotonic() + wall.total_seconds()
    while True:
        keep_alive()
        try:
            child.wait(_TURN_SECS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > give_up:
                return False
        else:
            return True


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """End the process and all that it started, whether it has ended itself or not."""
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _environment(threads: int, folder: Path) -> dict[str, str]:
    count = str(threads)
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
    }


class _Tail:
    """Reads a process's output to its end and keeps the last lines."""

    def __init__(self, output: IO[bytes] | None) -> None:
        self._output = output
        self._lines: deque[bytes] = deque(maxlen=_LOG_LINES)
        self._thread = threading.Thread(target=self._read, name="training log", daemon=True)
        self._thread.start()

    def close(self) -> tuple[str, ...]:
        """The last lines, once the output has ended."""
        # A process that left the killed session may hold the output open for ever.
        self._thread.join(_PATIENCE_SECS)
        return tuple(line.decode(errors="replace").rstrip() for line in tuple(self._lines))

    def _read(self) -> None:
        if self._output is None:
            return
        with self._output:
            # A bounded read, because a function may write without ever ending a line.
            while line := self._output.readline(_LINE_BYTES):
                self._lines.append(line)
