"""Spark's side of a job: runs in Spark's own environment, out of the archive that `SparkPool` made.

The coordinator sends splits, the driver makes a Spark job of each, an executor scores it with the code and the model
that came with the job, and what became of it goes back. Spark repeats what an executor died of; a part is written under
a staged name, so that a repeated or a speculative task shows once.
"""

import pickle
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Final

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import SparkFiles
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from millrace.core.errors import FatalError, MillraceError
from millrace_batch.adapters.spark import BUNDLE, Ready, SparkJob
from millrace_batch.adapters.worker import Assignment, SplitScoring
from millrace_batch.logic.splits import Done, Split

_CAUSE: Final = re.compile(r"^\w+(\.\w+)*(Error|Exception): .+")


def main() -> None:
    """Score splits on a cluster until the coordinator is gone. The argument is the number of an open connection."""
    connection = Connection(int(sys.argv[1]))
    job: SparkJob = connection.recv()
    builder = SparkSession.builder.appName(f"millrace batch {job.assignment.job.model}")
    for name, value in job.conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        session.sparkContext.addPyFile(str(job.package))
        session.sparkContext.addArchive(f"{job.bundle}#{BUNDLE}")
        connection.send(Ready(2 * session.sparkContext.defaultParallelism))
        _serve(session, pickle.dumps(job.assignment), connection)
    finally:
        session.stop()


def _serve(session: SparkSession, assignment: bytes, connection: Connection) -> None:
    lock = Lock()

    def run(number: int, split: Split) -> None:
        said = _run(session, assignment, split)
        with lock:
            connection.send((number, said))

    with ThreadPoolExecutor(thread_name_prefix="split", max_workers=256) as pool:
        try:
            while (received := connection.recv()) is not None:
                pool.submit(run, *received)
        except EOFError:  # the coordinator is gone: a later one goes on
            session.sparkContext.cancelAllJobs()
            pool.shutdown(cancel_futures=True)


def _run(session: SparkSession, assignment: bytes, split: Split) -> Done | MillraceError:
    """Have one split scored by whichever executor is free."""
    rows = session.range(0, 1, 1, 1)
    score = partial(score_split, assignment=assignment, split=pickle.dumps(split))
    try:
        [row] = rows.mapInArrow(score, "said binary").collect()
    except (PySparkException, Py4JError) as error:
        causes = list(filter(_CAUSE.match, str(error).splitlines()))
        cause = causes[-1] if causes else type(error).__name__
        return FatalError(
            f"Spark gave up on {split.path} from row {split.first_row} on: {cause}",
            remedy="mend that and run again: the job goes on",
        )
    said: Done | MillraceError = pickle.loads(row.said)  # noqa: S301 -- from our own executor
    return said


def score_split(batches: Iterator[pa.RecordBatch], *, assignment: bytes, split: bytes) -> Iterator[pa.RecordBatch]:
    """Score a split on an executor; runs inside `mapInArrow`. What goes wrong by our own rules is an answer, too."""
    for _ in batches:
        said: Done | MillraceError
        try:
            said = _scoring(assignment).score(pickle.loads(split))  # noqa: S301 -- from our own driver
        except MillraceError as error:
            said = error
        yield pa.record_batch({"said": pa.array([pickle.dumps(said)], pa.binary())})


@lru_cache(maxsize=1)
def _scoring(assignment: bytes) -> SplitScoring:
    """An executor's process is used again: the model is loaded once."""
    job: Assignment = pickle.loads(assignment)  # noqa: S301 -- from our own driver
    return SplitScoring(replace(job, bundle=Path(SparkFiles.get(BUNDLE))))


if __name__ == "__main__":
    main()
