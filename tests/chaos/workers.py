"""Scorer processes with slots of their own, to be killed, frozen and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self


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
        """Ask all to stop, wait, and return their exit codes."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.wait(timeout=60) for process in self._processes.values()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
