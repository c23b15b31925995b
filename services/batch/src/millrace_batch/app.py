"""The composition root: a job from its planning to its manifest."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from millrace.core.errors import FatalError, MillraceError, RequestError
from millrace.store.places import STAGING, File, Place
from millrace.transform import Program
from millrace_batch.adapters.pool import Pool
from millrace_batch.adapters.reading import plan_file
from millrace_batch.adapters.spark import Cluster, SparkPool
from millrace_batch.adapters.staging import DONE, MANIFEST, PARTS, REFUSED, part_name, refused_name
from millrace_batch.adapters.worker import Assignment, Died, Rows
from millrace_batch.logic.job import Job
from millrace_batch.logic.ledger import Ledger
from millrace_batch.logic.progress import Progress
from millrace_batch.logic.splits import Done, Split

_TURN: Final = timedelta(milliseconds=500)
_SAVE_SECS: Final = 1.0
_JOB: Final = (STAGING, "job.json")
_PROGRESS: Final = (STAGING, "progress.json")
_COUNTED_FILES: Final = 10_000
"""Up to so many files are counted before the first is read, so that the end can be told from the beginning."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job works with.

    Attributes:
        bundle: Folder of the model's bundle.
        program: The transform; None for none.
        workers: How many processes.
        input_options: Options of the input's driver, credentials among them.
        output_options: Options of the output's driver.
        python_functions: Whether the model may be a Python function.
        cluster: The Spark cluster that does it in the place of processes of this machine; None for these.
    """

    bundle: Path
    program: Program | None = None
    workers: int = 1
    input_options: Mapping[str, Any] | None = None
    output_options: Mapping[str, Any] | None = None
    python_functions: bool = False
    cluster: Cluster | None = None


def run_job(
    job: Job,
    resources: Resources,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_start: Callable[[list[int]], None] = lambda pids: None,
) -> Progress:
    """Score everything, publish it, and say how it went. Run again after any death, it goes on where it was.

    Args:
        job: What is to be done.
        resources: With what.
        on_progress: Told how far it is, about twice a second.
        on_start: Told the processes of the workers, whenever one was started.

    Raises:
        RequestError: The job cannot work as written: no input, an output that is another job's, a file that is not of
            its format, a missing column, refused credentials.
        TransientError: A place cannot be reached; run it again.
        FatalError: Workers die of a split, or the model cannot score.
    """
    source, target = Place(job.input, resources.input_options), Place(job.output, resources.output_options)
    manifest = target.read_json(MANIFEST)
    if manifest is not None:
        return _finished(job, manifest)
    _claim(job, target)
    with _pool(job, resources, source, target) as pool:  # workers load the model while the files are counted
        return _run(job, pool, (source, target), on_progress=on_progress, on_start=on_start)


def _run(
    job: Job,
    pool: Pool | SparkPool,
    places: tuple[Place, Place],
    *,
    on_progress: Callable[[Progress], None],
    on_start: Callable[[list[int]], None],
) -> Progress:
    source, target = places
    files = source.files()
    counted = list(islice(files, _COUNTED_FILES))
    if not counted:
        raise RequestError(f"there is no file in {job.input}", remedy="check the URI")
    following = next(files, None)
    total = sum(file.bytes for file in counted) if following is None else None
    rest = files if following is None else chain([following], files)
    plan = _plan(job, source, chain(counted, rest))
    ledger = Ledger(plan, _read_done(target))
    watch = _Watch(target.read_json(*_PROGRESS), ledger, total)
    _score(ledger, pool, target, _Told(watch, target, on_progress, on_start))
    return _publish(job, target, ledger, watch)


def read_progress(output: str, options: Mapping[str, Any] | None = None) -> Progress:
    """How far the job of an output is, whoever runs it.

    Raises:
        RequestError: No job has begun there.
    """
    place = Place(output, options)
    manifest = place.read_json(MANIFEST)
    document = place.read_json(*_PROGRESS) if manifest is None else manifest["progress"]
    if document is None:
        raise RequestError(f"no job has begun at {output}", remedy="check the URI: it is the job's output")
    return Progress.of(document)


def _claim(job: Job, target: Place) -> None:
    """Take the output for this job; what an earlier run had done of it stays."""
    known = target.read_json(*_JOB)
    if known is None:
        if any(not name.startswith(("_", ".")) for name in target.names()):
            raise RequestError(f"{target.uri} is not empty", remedy="name a folder that is empty or does not exist")
        target.write_json(job.document(), *_JOB)
    elif known["id"] != job.id:
        raise RequestError(
            f"{target.uri} holds the beginning of another job: {known['model']} on {known['input']}",
            remedy="name another output, or remove that one",
        )


def _finished(job: Job, manifest: Mapping[str, Any]) -> Progress:
    if manifest["job"]["id"] != job.id:
        raise RequestError(f"{job.output} holds the result of another job", remedy="name another output")
    return Progress.of(manifest["progress"])


def _plan(job: Job, source: Place, files: Iterator[File]) -> Iterator[Split]:
    for file in files:
        yield from plan_file(source, file, kind=job.format, split_rows=job.split_rows)


def _read_done(target: Place) -> dict[str, Done]:
    found = (target.read_json(*DONE, name) for name in target.names(*DONE) if not name.startswith("."))
    return {document["id"]: Done.of(document) for document in found if document is not None}


class _Watch:
    """Progress over time; the work of earlier runs counts, the time between them does not."""

    def __init__(self, earlier: dict[str, Any] | None, ledger: Ledger, total_bytes: int | None) -> None:
        self._ledger = ledger
        self._total_bytes = total_bytes
        self._before = Progress.of(earlier) if earlier else None
        self._started = time.monotonic()
        self._started_at = self._before.started_at if self._before else time.time()
        self._reading = 0

    def read(self, rows: int) -> None:
        """Rows of splits that are not done yet."""
        self._reading += rows

    def settle(self, rows: int) -> None:
        """These rows are no longer on their way: their split is done, or begun anew."""
        self._reading -= rows

    def progress(self, *, is_complete: bool = False) -> Progress:
        """How far it is now."""
        worked = time.monotonic() - self._started + (self._before.working_secs if self._before else 0.0)
        totals = self._ledger.totals
        return Progress(
            started_at=self._started_at,
            updated_at=time.time(),
            working_secs=worked,
            read=totals.read + self._reading,
            scored=totals.scored,
            filtered=totals.filtered,
            refused=totals.refused,
            done_bytes=totals.bytes,
            total_bytes=self._total_bytes,
            is_complete=is_complete,
        )


@dataclass(slots=True)
class _Told:
    """Who is told of a job's progress: the caller, and whoever asks for the status of the output."""

    watch: _Watch
    target: Place
    on_progress: Callable[[Progress], None]
    on_start: Callable[[list[int]], None]
    saved_at: float = 0.0

    def progress(self) -> None:
        """Tell how far it is."""
        progress = self.watch.progress()
        self.on_progress(progress)
        if progress.updated_at - self.saved_at >= _SAVE_SECS:
            self.target.write_json(progress.document(), *_PROGRESS)
            self.saved_at = progress.updated_at


def _pool(job: Job, resources: Resources, source: Place, target: Place) -> Pool | SparkPool:
    program = None if resources.program is None else resources.program.document()
    options = (resources.input_options or {}, resources.output_options or {})
    placed = replace(job, input=source.address, output=target.address)  # other machines have other working folders
    assignment = Assignment(placed, resources.bundle, program, options, resources.python_functions)
    if resources.cluster is None:
        return Pool(assignment, resources.workers)
    return SparkPool(assignment, resources.cluster)


def _score(ledger: Ledger, pool: Pool | SparkPool, target: Place, told: _Told) -> None:
    reading: dict[int, int] = {}
    told.on_start(pool.pids)
    busy = {number for number in range(pool.size) if _hand_out(ledger, pool, number)}
    while busy:
        for number, said in pool.listen(_TURN):
            match said:
                case Rows(count):
                    reading[number] = reading.get(number, 0) + count
                    told.watch.read(count)
                case Done():
                    told.watch.settle(reading.pop(number, 0))
                    target.write_json(said.document(), *DONE, said.id)
                    ledger.done(number, said)
                    if not _hand_out(ledger, pool, number):
                        busy.discard(number)
                case Died(exit_code):
                    told.watch.settle(reading.pop(number, 0))
                    if ledger.died(number) is None and number in busy:
                        raise FatalError(f"a worker ended by itself with exit code {exit_code}", remedy="see its log")
                    _replace(ledger, pool, number, busy, told)
                case MillraceError():
                    raise said
        told.progress()


def _hand_out(ledger: Ledger, pool: Pool | SparkPool, number: int) -> bool:
    split = ledger.next_for(number)
    if split is not None:
        pool.send(number, split)
    return split is not None


def _replace(ledger: Ledger, pool: Pool | SparkPool, number: int, busy: set[int], told: _Told) -> None:
    """Start another worker in the place of one that died, if there is something left to do."""
    pool.start(number)
    told.on_start(pool.pids)
    if not _hand_out(ledger, pool, number):
        busy.discard(number)


def _publish(job: Job, target: Place, ledger: Ledger, watch: _Watch) -> Progress:
    """Move the parts to where readers look, and then write the manifest: it is there when everything is there."""
    done = sorted(ledger.finished, key=lambda each: (each.path, each.first_row))
    for each in done:
        if each.scored:
            target.move((*PARTS, part_name(each.id)), (part_name(each.id),))
        if each.refused:
            target.move((*PARTS, refused_name(each.id)), (REFUSED, refused_name(each.id)))
    progress = watch.progress(is_complete=True)
    parts = [{"file": part_name(each.id) if each.scored else None, **each.document()} for each in done]
    target.write_json({"job": job.document(), "progress": progress.document(), "parts": parts}, MANIFEST)
    target.remove(STAGING)
    return progress
