"""A worker process: takes splits from a pipe, scores them, says what became of them."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias

from millrace.core.errors import FatalError, MillraceError
from millrace.serving.bundle import open_bundle
from millrace.serving.loading import LoadOptions, load
from millrace.transform import Program
from millrace_batch.adapters.places import Place
from millrace_batch.adapters.reading import read_split
from millrace_batch.adapters.scoring import TableScoring
from millrace_batch.adapters.staging import PartWriter
from millrace_batch.logic.job import Job
from millrace_batch.logic.splits import Done, Split

_NICE: Final = 10
"""Batch work yields to whatever serves people: other processes of the machine go first."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A worker has read so many more rows of its split."""

    count: int


Told: TypeAlias = Rows | Done | MillraceError
"""What a worker says."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker must know before the first split.

    Attributes:
        job: What is done.
        bundle: Folder of the model's bundle.
        program: The exported transform; None for none.
        options: Options of the input's and of the output's driver.
        python_functions: Whether a model may be a Python function.
    """

    job: Job
    bundle: Path
    program: Mapping[str, Any] | None
    options: tuple[Mapping[str, Any], Mapping[str, Any]]
    python_functions: bool


def work(assignment: Assignment, connection: Connection) -> None:
    """Score splits until there are none, or until whoever sends them is gone."""
    os.nice(_NICE)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the coordinator is gone: a later one goes on
        try:
            _work(assignment, connection)
        except MillraceError as error:
            connection.send(error)


def _work(assignment: Assignment, connection: Connection) -> None:
    job = assignment.job
    source, target = (
        Place(uri, options) for uri, options in zip((job.input, job.output), assignment.options, strict=True)
    )
    program = None if assignment.program is None else Program.load(assignment.program, subject="the job's transform")
    model = load(open_bundle(assignment.bundle), options=LoadOptions(python_functions=assignment.python_functions))
    if model.digest != job.digest:
        raise FatalError(f"the bundle at {assignment.bundle} is {model.digest}, not {job.digest}", remedy="run again")
    scoring = TableScoring(model, program, job.keep)
    columns = scoring.columns()
    metadata = {"model": job.model, "digest": job.digest, "transform": job.transform}
    try:
        while isinstance(split := connection.recv(), Split):
            with PartWriter(target, split, metadata) as part:
                for piece in read_split(source, split, kind=job.format, columns=columns):
                    part.write(scoring.score(piece, path=split.path), read=piece.read)
                    connection.send(Rows(piece.read))
                done = part.finish()
            connection.send(done)
    finally:
        model.close()
