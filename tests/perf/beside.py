"""What a live scorer's readers feel of a batch job on the same machine, whose workers run at low priority.

`python -m tests.perf.beside BUNDLE SOURCE FOLDER` is the job: over and over, on every core, until it is ended.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from millrace.core.errors import FatalError
from millrace.serving.bundle import open_bundle
from millrace_batch.app import Resources, run_job
from millrace_batch.logic.job import Job
from millrace_batch.logic.progress import Progress
from tests.perf import latency
from tests.perf.batch import make_file, make_trees
from tests.perf.contestants import Stage

_ROWS: Final = 1_000_000
_SPLIT: Final = 100_000

_TOLD: Final = 1_000

_TURNS: Final = 4
_PAUSE: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Beside:
    """The 99th percentile of the latency in milliseconds, alone and beside a batch job, and how they compare.

    With the rows a second that the job read meanwhile.
    """

    alone_p99_ms: float
    beside_p99_ms: float
    ratio: float
    job_rows_per_sec: int


def measure(stage: Stage, rate: int, span: timedelta) -> Beside:
    """Send at a rate while a job that has every core works for so long, and for as long stands still, in turns.

    Raises:
        FatalError: The scorer or the job ended, or no prediction came.
    """
    turn = span / _TURNS
    alone, beside, rows = [], [], 0
    with _batch() as job, latency.watching(stage, rate) as watch:
        for _ in range(_TURNS):
            job.stand_still()
            watch(_PAUSE)
            alone.append(watch(turn))
            job.go_on()
            watch(_PAUSE)
            rows -= job.rows()
            beside.append(watch(turn))
            rows += job.rows()
    alone_p99, beside_p99 = (float(np.quantile(np.concatenate(found), 0.99).round(1)) for found in (alone, beside))
    return Beside(alone_p99, beside_p99, round(beside_p99 / alone_p99, 2), round(rows / span.total_seconds()))


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that is at work from the beginning to the end, unless it is told to stand still."""

    process: subprocess.Popen[bytes]
    told: Path

    def rows(self) -> int:
        """How many it has read so far."""
        return self.told.stat().st_size * _TOLD

    def stand_still(self) -> None:
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        if self.process.poll() is not None:
            raise FatalError("the batch job ended while latency was measured", remedy="run it by hand")
        os.killpg(self.process.pid, number)


@contextmanager
def _batch() -> Iterator[_Job]:
    with tempfile.TemporaryDirectory(prefix="millrace-beside-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        bundle, source = make_trees(folder / "bundle"), make_file(folder / "rows.parquet", _ROWS)
        command = [sys.executable, "-m", __name__, str(bundle.directory), str(source), name]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            assert process.stdout is not None
            try:
                if not process.stdout.readline():
                    raise FatalError("the batch job ended before its first row", remedy="run it by hand")
                yield _Job(process, folder / "told")
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _work(bundle: Path, source: Path, folder: Path) -> None:
    """Score the file for ever; say when the first rows are read, and write a byte for every `_TOLD` of them."""
    opened = open_bundle(bundle)
    with (folder / "told").open("ab", buffering=0) as told:
        for number in count():

            def tell(progress: Progress, before: int = number * _ROWS) -> None:
                news = (before + progress.read) // _TOLD - told.tell()
                if news > 0 and told.tell() == 0:
                    sys.stdout.write("at work\n")
                    sys.stdout.flush()
                told.write(bytes(news))

            output = str(folder / f"out-{number}")
            job = Job(input=str(source), output=output, digest=opened.digest, model="trees/1", split_rows=_SPLIT)
            run_job(job, Resources(bundle, workers=os.cpu_count() or 1), on_progress=tell)


if __name__ == "__main__":
    _work(*map(Path, sys.argv[1:]))
