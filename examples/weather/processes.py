"""The scorer as a process of its own, as a supervisor would run it: start it, know when it is ready, end it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx

from millrace.core.clock import Clock
from millrace.core.errors import FatalError, TransientError
from millrace.process.settings import KafkaSettings

_READY_WITHIN: Final = timedelta(seconds=60)
_STOP_WITHIN: Final = timedelta(seconds=20)
_ASK_EVERY_SECS: Final = 0.1
_LAST_LINES: Final = 3


class Scorer:
    """A running scorer.

    Args:
        process: The child.
        port: Where it says whether it is ready.
        log: Where it writes its log.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}/readyz"
        self._log = log

    def check(self) -> None:
        """Do nothing if it runs.

        Raises:
            FatalError: It ended; the error has the last lines of its log.
        """
        if (code := self._process.poll()) is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
            raise FatalError(f"the scorer ended with exit code {code}: {' / '.join(said)}", remedy=f"see {self._log}")

    def wait_ready(self, clock: Clock) -> None:
        """Return when it has its model and its partitions.

        Raises:
            FatalError: It ended.
            TransientError: It is not ready after a minute; the error has its own reason.
        """
        until = clock.monotonic() + _READY_WITHIN.total_seconds()
        while True:
            self.check()
            if (reason := self._why_not_ready()) is None:
                return
            if clock.monotonic() > until:
                raise TransientError(f"the scorer is not ready after a minute: {reason}", remedy=f"see {self._log}")

    def stop(self) -> None:
        """Let it commit what is complete and leave; kill it if that takes too long."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _why_not_ready(self) -> str | None:
        try:
            answer = httpx.get(self._url, timeout=1)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ASK_EVERY_SECS)  # a pause that ends at once when the child does
        return "it does not answer yet" if answer is None else answer.text.strip()


@contextmanager
def running_scorer(deployment: Path, *, kafka: KafkaSettings, home: Path) -> Iterator[Scorer]:
    """Run `python -m millrace_scorer` until the block ends.

    It gets a session of its own: Ctrl-C is meant for the story, which ends the scorer in an orderly way.

    Args:
        deployment: The deployment document.
        kafka: The cluster.
        home: The folder of model files; the log is written to it.
    """
    log, port = home / "scorer.log", _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_KAFKA__")},
        "MILLRACE_HOME": str(home),
        "MILLRACE_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_HEALTH__PORT": str(port),
    }
    command = [sys.executable, "-m", "millrace_scorer", "--file", str(deployment), "--slot", "0"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        scorer = Scorer(process, port, log)
        try:
            yield scorer
        finally:
            scorer.stop()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
