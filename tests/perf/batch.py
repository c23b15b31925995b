"""Batch scoring beside ONNX Runtime alone: `python -m tests.perf.batch`. One JSON line each, a table on stderr.

The same Parquet file, the same trees, one thread of the model; at last as many as there are cores. ONNX Runtime alone
scores a matrix that is in memory already: what no job can beat that has to read and write files. The plain loop is what
one writes in a notebook, the pandas loop what most do. The job reads ahead in a thread of its own. What a job costs
before its first row, whatever it reads, is told apart: the first of a process imports what workers need. Of jobs in
several splits it is told how far the end that was projected half way was off, as a share of the whole time.

The pandas loop and the same job on Spark, whose start of some seconds counts in every run, are measured where there is
Spark's environment: that of `make test-spark`, or the one whose Python MILLRACE_SPARK_PYTHON names.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import onnxruntime
import psutil
import pyarrow as pa
import pyarrow.parquet
from lightgbm import LGBMClassifier
from rich.console import Console
from rich.table import Table

from millrace.serving.bundle import Bundle
from millrace.serving.export import Origin, export
from millrace.testing.models import MADE_AT
from millrace_batch.adapters.spark import Cluster
from millrace_batch.app import Resources, run_job
from millrace_batch.logic.job import Job
from millrace_batch.logic.progress import Progress

FEATURES: Final = tuple(f"f{number:02d}" for number in range(30))
_CHUNK: Final = 65_536
_ALONE: Final = "onnxruntime alone"
_ERRORS_ONLY: Final = 3
_SPLIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run took: seconds, and CPU seconds of all its processes."""

    secs: float
    cpu_secs: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """Scores all rows. The argument is the number of the run.

    Attributes:
        work: Does it.
        base: Whom its ratios are of.
    """

    work: Callable[[int], Spent]
    base: str = _ALONE


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of them, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file (default 1000000)")
    parser.add_argument("--runs", type=int, default=3, help="interleaved repetitions (default 3)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="millrace-batch-perf-") as name:
        folder = Path(name)
        bundle, source = make_trees(folder / "bundle"), make_file(folder / "rows.parquet", options.rows)
        _show_start(bundle, folder)
        contestants = _contestants(bundle, source, folder)
        runs: dict[str, list[Spent]] = {who: [] for who in contestants}
        for number in range(options.runs):
            for who, contestant in contestants.items():
                console.print(f"{who}, {number + 1} of {options.runs}", style="dim")
                runs[who].append(contestant.work(number))
    _show(console, contestants, runs, options.rows)


def _contestants(bundle: Bundle, source: Path, folder: Path) -> dict[str, Contestant]:
    matrix, session, cores = _matrix(pa.parquet.read_table(source)), _session(bundle, 1), os.cpu_count() or 1
    found = {
        _ALONE: Contestant(lambda _: _timed(lambda: _alone(session, matrix))),
        "plain loop": Contestant(
            lambda number: _timed(lambda: _loop(session, source, folder / f"loop-{number}.parquet"))
        ),
        "millrace batch": Contestant(lambda number: _job(bundle, source, folder / f"job-{number}")),
    }
    if (other := _spark_python()) is not None:  # pandas, too, is in its environment
        cluster = Cluster(str(other), "local[1]", {"spark.ui.enabled": "false", "spark.log.level": "ERROR"})
        found["pandas loop"] = Contestant(
            lambda number: _pandas(other, bundle, source, folder / f"pandas-{number}.parquet")
        )
        found["millrace batch on Spark"] = Contestant(
            lambda number: _job(bundle, source, folder / f"spark-{number}", cluster=cluster)
        )
    if cores > 1:
        base, several = f"{_ALONE}, {cores} threads", _session(bundle, cores)
        found[base] = Contestant(lambda _: _timed(lambda: _alone(several, matrix)), base)
        found[f"millrace batch, {cores} workers"] = Contestant(
            lambda number: _job(bundle, source, folder / f"jobs-{number}", workers=cores), base
        )
    return found


def _spark_python() -> Path | None:
    named = os.environ.get("MILLRACE_SPARK_PYTHON")
    found = Path(named) if named else Path(__file__).parents[2] / ".venv-spark" / "bin" / "python"
    return found if found.exists() else None


def _show_start(bundle: Bundle, folder: Path) -> None:
    """What jobs of next to nothing take."""
    small = make_file(folder / "small.parquet", 1_000)
    first, following = (_job(bundle, small, folder / f"small-{number}") for number in range(2))
    figures = {"first_secs": round(first.secs, 2), "next_secs": round(following.secs, 2)}
    _say("start of a job", **figures)


def _timed(work: Callable[[], None]) -> Spent:
    """What it takes this process."""
    cpu, started = time.process_time(), time.monotonic()
    work()
    return Spent(time.monotonic() - started, time.process_time() - cpu)


def make_trees(folder: Path, features: Sequence[str] = FEATURES, *, name: str = "trees") -> Bundle:
    """A bundle of a hundred trees of depth 6 on three numbers or more."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(20_000, len(features))).astype(np.float32)
    truth = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0).astype(int)
    trees = LGBMClassifier(n_estimators=100, max_depth=6, num_leaves=64, n_jobs=1, verbose=-1).fit(rows, truth)
    return export(
        trees,
        rows[:2_000],
        origin=Origin(name, MADE_AT),
        directory=folder,
        labels=truth[:2_000],
        feature_names=features,
    )


def make_file(path: Path, rows: int) -> Path:
    """A Parquet file with an id and the trees' 30 numbers."""
    random = np.random.default_rng(6)
    columns = {name: random.normal(size=rows).astype(np.float32) for name in FEATURES}
    pa.parquet.write_table(pa.table({"id": np.arange(rows), **columns}), path, row_group_size=_SPLIT)
    return path


def _matrix(table: pa.Table) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([table.column(name).to_numpy() for name in FEATURES], axis=1)


def _session(bundle: Bundle, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    assert bundle.model is not None
    return onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])


def _infer(
    session: onnxruntime.InferenceSession, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> list[np.ndarray]:
    answers: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: rows})
    return answers


def _alone(session: onnxruntime.InferenceSession, matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    for first in range(0, len(matrix), _CHUNK):
        _infer(session, matrix[first : first + _CHUNK])


def _loop(session: onnxruntime.InferenceSession, source: Path, target: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("label", pa.int64()), ("score", pa.float32())])
    with pa.parquet.ParquetWriter(target, schema) as writer:
        for batch in pa.parquet.ParquetFile(source).iter_batches(_CHUNK):
            table = pa.Table.from_batches([batch])
            answers = _infer(session, _matrix(table))
            scores = np.asarray(answers[-1]).reshape(len(table), -1)[:, -1]
            labels = (scores > 0.5).astype(np.int64)
            writer.write_table(pa.table([table.column("id"), labels, scores.astype(np.float32)], schema=schema))


def _pandas(python: Path, bundle: Bundle, source: Path, target: Path) -> Spent:
    """It measures itself, and so without its imports."""
    script = Path(__file__).with_name("pandas_loop.py")
    command = [str(python), str(script), str(bundle.model), str(source), str(target)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Spent(**json.loads(said))


def _job(bundle: Bundle, source: Path, target: Path, *, workers: int = 1, cluster: Cluster | None = None) -> Spent:
    pids: list[int] = []
    spent: dict[int, float] = {}
    halves: list[Progress] = []

    def look(progress: Progress) -> None:
        """CPU seconds so far of the workers, or of Spark's driver and its executors; and where it is half way."""
        if 0.5 <= (progress.share or 0) < 1:
            halves.append(progress)
        for pid in pids:
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                times = process.cpu_times()
                spent[process.pid] = times.user + times.system

    job = Job(
        input=str(source),
        output=str(target),
        digest=bundle.digest,
        model="trees/1",
        keep=("id",),
        split_rows=_SPLIT if workers > 1 else 1_000_000,
    )
    resources = Resources(bundle.directory, workers=workers, cluster=cluster)

    def run() -> None:
        done = run_job(job, resources, on_start=pids.extend, on_progress=look)
        assert done.scored == done.read
        if halves and halves[0].projected_end is not None:
            off = abs(halves[0].projected_end - done.updated_at) / (done.updated_at - done.started_at)
            _say("projected end of the job", share=halves[0].share, off=round(off, 2))

    coordinator = _timed(run)
    return Spent(coordinator.secs, coordinator.cpu_secs + sum(spent.values()))


def _show(
    console: Console, contestants: Mapping[str, Contestant], runs: Mapping[str, Sequence[Spent]], rows: int
) -> None:
    table = Table(
        "", "rows/s", "CPU s per million", "rows/s of ONNX Runtime's", "CPU", title=f"{rows:,} rows, 100 trees, medians"
    )
    medians = {
        who: Spent(median(run.secs for run in found), median(run.cpu_secs for run in found))
        for who, found in runs.items()
    }
    for who, spent in medians.items():
        base, speed, cpu = medians[contestants[who].base], rows / spent.secs, spent.cpu_secs * 1e6 / rows
        ratios = (base.secs / spent.secs, base.cpu_secs / spent.cpu_secs)
        figures = {"rows": rows, "rows_per_sec": round(speed), "cpu_secs_per_million": round(cpu, 2)}
        of = {"of_onnxruntime": round(ratios[0], 2), "of_onnxruntime_cpu": round(ratios[1], 2)}
        _say(who, **figures, **of)
        table.add_row(who, f"{speed:,.0f}", f"{cpu:.2f}", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


def _say(what: str, **figures: object) -> None:
    sys.stdout.write(json.dumps({"batch": what, **figures}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
