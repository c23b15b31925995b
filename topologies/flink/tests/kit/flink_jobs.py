"""Jobs of Flink, run in the environment that has it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from millrace.process.settings import Settings
from millrace.testing.broker import Broker

ROOT = Path(__file__).parents[4]
LONGEST = timedelta(minutes=12)


def environment_of(broker: Broker, settings: Settings) -> dict[str, str]:
    """What a job finds in its environment: the broker, where bundles lie, and this project."""
    return {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": broker.kafka.bootstrap,
        "MILLRACE_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "topologies/flink"))),
    }


@dataclass(frozen=True, slots=True)
class Flink:
    """Runs jobs in the environment that has Flink."""

    python: Path
    environment: Mapping[str, str]
    log: Path

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A job that runs until the block ends."""
        with self.log.open("ab") as log:
            job = subprocess.Popen(
                [str(self.python), "-m", "millrace_flink", *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield job
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()

    def run(self, *arguments: str) -> None:
        """Run a job to its end, which must be a good one."""
        with self.started(*arguments) as job:
            code = job.wait(timeout=LONGEST.total_seconds())
        assert code == 0, self.log.read_text(errors="replace")[-6000:]
