"""The brokers that tests run against: one started for the run, or one that runs already.

A broker of a test run must not outlive it, however the run ends. Pytest's own finalisers cover its end and Ctrl-C; a
watcher process covers `kill -9`: it waits for the end of a pipe that the test process holds, which the operating
system closes in any case.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from millrace.core.errors import RequestError
from millrace.kafka.broker import BrokerStatus, LocalBroker
from millrace.kafka.jars import OnProgress, silent
from millrace.process.settings import KafkaSettings

QUICK_JAVA: Final = ("-XX:TieredStopAtLevel=1",)
"""Starts sooner and leaves more of the processor to the tests, at the price of peak throughput."""


class Broker(Protocol):
    """What a test may do with its broker."""

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""

    @property
    def kafka(self) -> KafkaSettings:
        """How clients connect."""

    def start(self, *, on_progress: OnProgress = silent) -> BrokerStatus:
        """Start it again, at the same address and with the same data."""

    def stop(self) -> None:
        """Shut it down."""

    def kill(self) -> None:
        """Kill it as a power cut would."""

    def restart(self, *, on_progress: OnProgress = silent) -> BrokerStatus:
        """Shut it down and start it again."""


@dataclass(frozen=True, slots=True)
class BorrowedBroker:
    """A broker that somebody else runs. Tests that stop or kill a broker are not for it."""

    bootstrap: str

    @property
    def kafka(self) -> KafkaSettings:
        """How clients connect."""
        return KafkaSettings(bootstrap=self.bootstrap)

    def start(self, *, on_progress: OnProgress = silent) -> BrokerStatus:
        """Refuse."""
        raise self._refusal("started")

    def stop(self) -> None:
        """Refuse."""
        raise self._refusal("stopped")

    def kill(self) -> None:
        """Refuse."""
        raise self._refusal("killed")

    def restart(self, *, on_progress: OnProgress = silent) -> BrokerStatus:
        """Refuse."""
        raise self._refusal("restarted")

    def _refusal(self, what: str) -> RequestError:
        return RequestError(
            f"the broker at {self.bootstrap} is not this test's and cannot be {what}",
            remedy="run the tests with --broker local, or use the fixture own_broker",
        )


@contextmanager
def temporary_broker(broker: LocalBroker | None = None) -> Iterator[LocalBroker]:
    """Run a broker until the block ends, in a temporary folder that goes with it.

    Args:
        broker: A broker to run instead of an ordinary one; its folder goes as well.
    """
    home = broker.home if broker else Path(tempfile.mkdtemp(prefix="millrace-test-"))
    running = broker or LocalBroker(home, java=QUICK_JAVA)
    with _watched(home):
        try:
            running.start()
            yield running
        finally:
            _remove(home)


@contextmanager
def _watched(home: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "millrace.testing.broker", str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.kill()  # All is removed already.


def _remove(home: Path) -> None:
    LocalBroker(home).kill()  # Nobody will read its data again: no need to ask.
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _remove(Path(sys.argv[1]))
