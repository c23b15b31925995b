"""What a live scorer's readers feel of a batch job on the same machine, whose workers run at low priority.

`python -m tests.perf.beside BUNDLE SOURCE FOLDER` is the job: over and over, on every core, until it is ended.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Beside:
    """The 99th percentile of the latency in milliseconds, alone and beside a batch job, and how they compare."""

    alone_p99_ms: float
    beside_p99_ms: float
    ratio: float


def measure(stage: Stage, rate: int, span: timedelta) -> Beside:
    """Send at a rate for so long, alone; and for as long again while a batch job has every core.

    Raises:
        FatalError: The scorer or the job ended, or no prediction came.
    """
    alone = latency.measure(stage, rate, span).p99_ms
    with _batch():
        beside = latency.measure(stage, rate, span).p99_ms
    return Beside(alone, beside, round(beside / alone, 2))


@contextmanager
def _batch() -> Iterator[None]:
    """A job that is at work from the beginning to the end."""
    with tempfile.TemporaryDirectory(prefix="millrace-beside-") as name:
        folder = Path(name)
        bundle, source = make_trees(folder / "bundle"), make_file(folder / "rows.parquet", _ROWS)
        command = [sys.executable, "-m", __name__, str(bundle.directory), str(source), name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as job:
            assert job.stdout is not None
            try:
                if not job.stdout.readline():
                    raise FatalError("the batch job ended before its first row", remedy="run it by hand")
                yield
                if job.poll() is not None:
                    raise FatalError("the batch job ended while latency was measured", remedy="run it by hand")
            finally:
                job.terminate()  # its workers end when nobody hears them any more


def _work(bundle: Path, source: Path, folder: Path) -> None:
    """Score the file for ever; say so when rows were read."""
    opened = open_bundle(bundle)
    told = False

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.read and not told:
            told = True
            sys.stdout.write("at work\n")
            sys.stdout.flush()

    for number in count():
        output = str(folder / f"out-{number}")
        job = Job(input=str(source), output=output, digest=opened.digest, model="trees/1", split_rows=_SPLIT)
        run_job(job, Resources(bundle, workers=os.cpu_count() or 1), on_progress=tell)


if __name__ == "__main__":
    _work(*map(Path, sys.argv[1:]))
