"""The keeper of one process: `python keeper.py FOLDER`.

Stands between the daemon and a process, so that the daemon may come and go. It starts the process, keeps its output in
bounded files, ends it when it is asked to, when it takes too much memory, or when the node's lease runs out, and writes
down how it ended. A process without a keeper ends at once; so there is never one that nobody keeps.

It is run by its path and imports the standard library alone: there is one for each process, and it shall be small.

    FOLDER/
        launch.json     what to start (read once)
        lock            locked as long as this keeper lives; the daemon locks it before it starts the keeper
        state.json      what became of it
        stop, kill      written by the daemon: drain the process, kill it for the reason that is in the file
        output.log      what the process said; output.log.1 is what it said before that
"""

import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

TURN_SECS: Final = 0.1
MEMORY_TURNS: Final = 10
AFTER_LEASE_SECS: Final = 1.0
"""Between the end of the lease and the kill: a commit in hand may still succeed."""

_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
_FIRST_TO_GO: Final = "500"
"""When the machine runs out of memory, the kernel ends processes before daemons and brokers; anybody may raise it."""
_PAGE: Final = resource.getpagesize()
_CHUNK: Final = 1 << 16


class Output:
    """The output of the process: the latest `most_bytes` at least of what it said, in two files."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._path = folder / "output.log"
        self._most = most_bytes
        self._file = self._path.open("ab", buffering=0)

    def write(self, said: bytes) -> None:
        """Append; begin another file where this one is full."""
        for start in range(0, len(said), self._most):
            piece = said[start : start + self._most]
            if self._file.tell() + len(piece) > self._most:
                self._file.close()
                self._path.replace(self._path.with_name("output.log.1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(piece)

    def close(self) -> None:
        """Nothing more is said."""
        self._file.close()


class Keeper:
    """Keeps one process from its start to its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._launch: dict[str, Any] = json.loads((folder / "launch.json").read_text())
        self._lease = Path(self._launch["lease"])
        self._output = Output(folder, self._launch["log_bytes"])
        self._state: dict[str, Any] = {"pid": None, "started_ms": _now_ms(), "asked": False, "noted": ""}
        self._kill_at: float | None = None
        self._turns = 0

    def run(self) -> None:
        """Start the process, and return when it has ended and its end is written down."""
        try:
            child = self._start()
        except OSError as error:
            self._end(None, f"cannot be started: {error.strerror}: {error.filename}")
            return
        self._state["pid"] = child.pid
        self._write_state()
        with selectors.DefaultSelector() as selector:
            assert child.stdout is not None  # noqa: S101 -- it is a pipe
            os.set_blocking(child.stdout.fileno(), False)
            selector.register(child.stdout, selectors.EVENT_READ)
            while child.poll() is None:
                if selector.select(TURN_SECS) and not self._read(child):
                    selector.unregister(child.stdout)
                self._tend(child)
        self._read(child)
        _kill(child.pid)  # What it started and left behind.
        self._end(child.returncode, self._state["noted"])

    def _start(self) -> subprocess.Popen[bytes]:
        keeper = os.getpid()

        def in_child() -> None:
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)
            with suppress(OSError):
                os.sched_setaffinity(0, self._launch["processors"])
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)

        return subprocess.Popen(
            self._launch["command"],
            env=self._launch["environment"],
            cwd=self._launch["folder"] or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509 -- this process has one thread
        )

    def _read(self, child: subprocess.Popen[bytes]) -> bool:
        """Keep what the process has said by now; False when it will say nothing more."""
        assert child.stdout is not None  # noqa: S101 -- it is a pipe
        with suppress(BlockingIOError):
            while said := os.read(child.stdout.fileno(), _CHUNK):
                self._output.write(said)
            return False
        return True

    def _tend(self, child: subprocess.Popen[bytes]) -> None:
        """Look after the process once."""
        self._turns += 1
        if (self._folder / "kill").exists():
            why = (self._folder / "kill").read_text()
            self._stop(child, why, grace=0, asked=not why)
        elif (self._folder / "stop").exists():
            self._stop(child, "", grace=self._launch["grace_secs"])
        elif time.clock_gettime(time.CLOCK_BOOTTIME) > self._deadline():
            self._stop(child, "the node lost its lease", grace=AFTER_LEASE_SECS)
        if self._turns % MEMORY_TURNS == 0:
            self._check_memory(child)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            _kill(child.pid)

    def _deadline(self) -> float:
        """When the lease ends. A lease that cannot be read has ended: nobody else could find this process."""
        try:
            return float(self._lease.read_text())
        except (OSError, ValueError):
            return 0.0

    def _stop(self, child: subprocess.Popen[bytes], noted: str, *, grace: float, asked: bool = True) -> None:
        """Ask the process to end, once; kill it after `grace` seconds, or sooner if somebody says so later."""
        kill_at = time.monotonic() + grace
        if self._kill_at is None:
            self._state.update(asked=asked, noted=noted, draining=True)
            self._write_state()
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
                os.kill(child.pid, signal.SIGCONT)  # One that is frozen would not hear it.
            self._kill_at = kill_at
        self._kill_at = min(self._kill_at, kill_at)

    def _check_memory(self, child: subprocess.Popen[bytes]) -> None:
        most = self._launch["memory_bytes"]
        used = sum(map(_resident_bytes, _family(child.pid)))
        if used > most and not self._state["noted"]:
            self._state["noted"] = f"out of memory: used {used >> 20} MiB of {most >> 20} MiB"
            _kill(child.pid)

    def _end(self, code: int | None, noted: str) -> None:
        self._output.close()
        self._state.update(ended_ms=_now_ms(), exit_code=code, noted=noted)
        self._write_state()

    def _write_state(self) -> None:
        partial = self._folder / "state.partial"
        with suppress(OSError):  # The folder may be gone, and with it everybody who would read this.
            partial.write_text(json.dumps(self._state))
            partial.replace(self._folder / "state.json")


def _kill(group: int) -> None:
    """Kill a process with all that it has started; what has ended already is no error."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(map(int, (task / "children").read_text().split()))
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """Keep the process of the folder that the command line names."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It ends when its process does, and not before.
    Keeper(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
