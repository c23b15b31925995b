"""Spark's side of a job: runs in Spark's own environment, out of the archive that `SparkPool` made.

The coordinator sends splits, the driver makes a Spark job of each, an executor scores it with the code and the model
that came with the job, and what became of it goes back. Spark repeats what an executor died of; a part is written under
a staged name, so that a repeated or a speculative task shows once.
"""

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Final

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import SparkFiles
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace_batch.adapters.spark import BUNDLE, Ready, SparkJob
from millrace_batch.adapters.worker import Assignment, SplitScoring
from millrace_batch.logic.splits import Done, Split

_ERRORS: Final = {"request": RequestError, "transient": TransientError, "fatal": FatalError}
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
        _serve(session, job.assignment, connection)
    finally:
        session.stop()


def _serve(session: SparkSession, assignment: Assignment, connection: Connection) -> None:
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


def _run(session: SparkSession, assignment: Assignment, split: Split) -> Done | MillraceError:
    """Have one split scored by whichever executor is free."""
    rows = session.range(0, 1, 1, 1)
    score = partial(score_split, assignment=assignment, split=split)
    try:
        [row] = rows.mapInArrow(score, "said string").collect()
    except (PySparkException, Py4JError) as error:
        causes = list(filter(_CAUSE.match, str(error).splitlines()))
        cause = causes[-1] if causes else type(error).__name__
        return FatalError(
            f"Spark gave up on {split.path} from row {split.first_row} on: {cause}",
            remedy="mend that and run again: the job goes on",
        )
    said = json.loads(row.said)
    return Done(**said["done"]) if "done" in said else _ERRORS[said["error"]](said["message"], remedy=said["remedy"])


def score_split(batches: Iterator[pa.RecordBatch], *, assignment: Assignment, split: Split) -> Iterator[pa.RecordBatch]:
    """Score a split on an executor; runs inside `mapInArrow`. What goes wrong by our own rules is an answer, too."""
    for _ in batches:
        try:
            said: dict[str, object] = {"done": _scoring(assignment).score(split).document()}
        except MillraceError as error:
            kind = next((name for name, known in _ERRORS.items() if known in type(error).__mro__), "fatal")
            said = {"error": kind, "message": error.message, "remedy": error.remedy}
        yield pa.record_batch({"said": pa.array([json.dumps(said)])})


_loaded: dict[str, SplitScoring] = {}
"""An executor's process is used again, and works for one job: the model is loaded once."""


def _scoring(assignment: Assignment) -> SplitScoring:
    if assignment.job.id not in _loaded:
        _loaded[assignment.job.id] = SplitScoring(replace(assignment, bundle=Path(SparkFiles.get(BUNDLE))))
    return _loaded[assignment.job.id]


if __name__ == "__main__":
    main()
