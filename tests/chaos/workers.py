"""Scorer processes with slots of their own, to be killed, frozen and started again."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from millrace.testing.waiting import eventually


class Workers:
    """As many scorers as there are slots, from `start` to `stop`. Every process that was started is ended."""

    def __init__(self, deployment: Path, environment: dict[str, str], log: Path, *, count: int) -> None:
        self._command = [sys.executable, "-m", "millrace_scorer", "--file", str(deployment)]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for slot in range(count):
            self.start(slot)

    def start(self, slot: int) -> None:
        """Start the scorer of a slot."""
        with self._log.open("ab") as log:
            command = [*self._command, "--slot", str(slot)]
            self._processes[slot] = subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)

    def is_running(self, slot: int) -> bool:
        """Whether the scorer of a slot has neither been killed nor ended by itself."""
        return self._processes[slot].poll() is None

    def kill(self, slot: int) -> None:
        """End the scorer of a slot as a power cut would."""
        self._processes[slot].kill()
        self._processes[slot].wait()

    def freeze(self, slot: int) -> None:
        """Stop the scorer of a slot in whatever it does."""
        self._processes[slot].send_signal(signal.SIGSTOP)

    def thaw(self, slot: int) -> None:
        """Let it go on."""
        self._processes[slot].send_signal(signal.SIGCONT)

    def stop(self) -> list[int]:
        """Ask all to stop, wait, and return their exit codes. Those that were only just started begin first."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            eventually(
                partial(_may_be_asked, process), within=timedelta(minutes=2), what="a scorer that can be stopped"
            )
            process.terminate()
        return [process.wait(timeout=60) for process in self._processes.values()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


def _may_be_asked(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended, or has a handler for SIGTERM by now, without which it would die of it."""
    if process.poll() is not None:
        return True
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)
