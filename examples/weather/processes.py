"""The parts of the loop as processes of their own, as a supervisor would run them: start, know when ready, end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx

from millrace.core.clock import Clock
from millrace.core.errors import FatalError, TransientError
from millrace.process.settings import KafkaSettings

_READY_WITHIN: Final = timedelta(seconds=90)
_STOP_WITHIN: Final = timedelta(seconds=20)
_ASK_EVERY_SECS: Final = 0.1
_LAST_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the loop.

    Attributes:
        name: What the story calls it; its log is `<name>.log`.
        arguments: What follows `python -m`.
    """

    name: str
    arguments: tuple[str, ...]


class Process:
    """A running part.

    Args:
        part: What it is.
        child: The process.
        port: Where it says whether it is ready.
        log: Where it writes its log.
    """

    def __init__(self, part: Part, child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self._name = part.name
        self._child = child
        self._url = f"http://127.0.0.1:{port}/readyz"
        self._log = log

    def check(self) -> None:
        """Do nothing if it runs.

        Raises:
            FatalError: It ended; the error has the last lines of its log.
        """
        if (code := self._child.poll()) is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
            raise FatalError(
                f"the {self._name} ended with exit code {code}: {' / '.join(said)}", remedy=f"see {self._log}"
            )

    def wait_ready(self, clock: Clock) -> None:
        """Return when it has all that it needs.

        Raises:
            FatalError: It ended.
            TransientError: It is not ready in time; the error has its own reason.
        """
        until = clock.monotonic() + _READY_WITHIN.total_seconds()
        while True:
            self.check()
            if (reason := self._why_not_ready()) is None:
                return
            if clock.monotonic() > until:
                raise TransientError(
                    f"the {self._name} is not ready after {_READY_WITHIN.seconds} seconds: {reason}",
                    remedy=f"see {self._log}",
                )

    def ask_to_stop(self) -> None:
        """Let it commit what is complete and leave; does not wait."""
        self._child.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Return when it has left; kill it if that takes too long."""
        try:
            self._child.wait(_STOP_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _why_not_ready(self) -> str | None:
        try:
            answer = httpx.get(self._url, timeout=1)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_ASK_EVERY_SECS)  # a pause that ends at once when the child does
        return "it does not answer yet" if answer is None else answer.text.strip()


@contextmanager
def running(parts: Sequence[Part], *, kafka: KafkaSettings, home: Path) -> Iterator[tuple[Process, ...]]:
    """Run the parts until the block ends, or one of them cannot be started.

    Each gets a session of its own: Ctrl-C is meant for the story, which ends them in an orderly way.

    Args:
        parts: What to run.
        kafka: The cluster.
        home: The folder of model files; the logs are written to it.
    """
    started: list[Process] = []
    try:
        started.extend(_start(part, kafka, home) for part in parts)
        yield tuple(started)
    finally:
        for process in started:
            process.ask_to_stop()
        for process in started:
            process.wait_stopped()


def _start(part: Part, kafka: KafkaSettings, home: Path) -> Process:
    log, port = home / f"{part.name.replace(' ', '-')}.log", _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_KAFKA__")},
        "MILLRACE_HOME": str(home),
        "MILLRACE_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_HEALTH__PORT": str(port),
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", *part.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Process(part, child, port, log)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
