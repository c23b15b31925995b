"""A worker process: takes splits from a pipe, scores them, says what became of them."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias

from millrace import __version__
from millrace.core.errors import FatalError, MillraceError
from millrace.serving.bundle import open_bundle
from millrace.serving.loading import LoadOptions, load
from millrace.store.places import Place
from millrace.transform import Program
from millrace_batch.adapters.reading import Piece, read_split
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


@dataclass(frozen=True, slots=True)
class Died:
    """A worker process is gone, with this exit code; below zero the signal that killed it."""

    exit_code: int | None


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


class SplitScoring:
    """Makes parts of splits, in whatever process, on whatever machine. Close it when there are no more.

    Args:
        assignment: What is done, and with what.

    Raises:
        RequestError: The bundle or the transform cannot be used.
        FatalError: The bundle is not the job's.
    """

    def __init__(self, assignment: Assignment) -> None:
        job, program = assignment.job, assignment.program
        self._source, self._target = (
            Place(uri, options) for uri, options in zip((job.input, job.output), assignment.options, strict=True)
        )
        opened = None if program is None else Program.load(program, subject="the job's transform")
        options = LoadOptions(python_functions=assignment.python_functions)
        self._model = load(open_bundle(assignment.bundle), options=options)
        if self._model.digest != job.digest:
            raise FatalError(
                f"the bundle at {assignment.bundle} is {self._model.digest}, not {job.digest}", remedy="run again"
            )
        self._format = job.format
        self._scoring = TableScoring(self._model, opened, job.keep)
        self._metadata = {
            "model": job.model,
            "digest": job.digest,
            "transform": job.transform,
            "version": __version__,
        }

    def score(self, split: Split, *, on_rows: Callable[[int], None] = lambda rows: None) -> Done:
        """Score a split into its part, which counts from now on; `on_rows` hears how many rows were read, now and then.

        Raises:
            MillraceError: See `read_split`, `TableScoring.score` and `Place`.
        """
        columns = self._scoring.columns()
        with PartWriter(self._target, split, self._metadata) as part:
            for piece in _ahead(read_split(self._source, split, kind=self._format, columns=columns)):
                part.write(self._scoring.score(piece, path=split.path), read=piece.read)
                on_rows(piece.read)
            return part.finish()

    def close(self) -> None:
        """Release the model's memory."""
        self._model.close()


def _ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces, the next of which is read while one is scored."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        following = reader.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, pieces, None)
            yield piece


def work(assignment: Assignment, connection: Connection) -> None:
    """Score splits until there are none, or until whoever sends them is gone."""
    os.nice(_NICE)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the coordinator is gone: a later one goes on
        try:
            scoring = SplitScoring(assignment)
            try:
                while isinstance(split := connection.recv(), Split):
                    connection.send(scoring.score(split, on_rows=lambda count: connection.send(Rows(count))))
            finally:
                scoring.close()
        except MillraceError as error:
            connection.send(error)
