"""Batch scoring beside ONNX Runtime alone: `python -m tests.perf.batch`. One JSON line each, a table on stderr.

One thread of the model, one worker, the same Parquet file, the same trees. ONNX Runtime alone scores a matrix that is
in memory already: what no job can beat that has to read and write files. The plain loop is what one writes in a
notebook, the pandas loop what most do. The job reads ahead in a thread of its own; its workers' imports count in the
first run only.
With MILLRACE_SPARK_PYTHON set, the same job runs on Spark, whose start of some seconds counts in every run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, slots=True)
class Run:
    """Rows a second and CPU seconds per million rows of one run, and the memory of whoever did it."""

    rows_per_sec: float
    cpu_secs_per_million: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of them, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file (default 1000000)")
    parser.add_argument("--runs", type=int, default=3, help="interleaved repetitions (default 3)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="millrace-batch-perf-") as name:
        folder = Path(name)
        bundle, source = _trees(folder / "bundle"), _file(folder / "rows.parquet", options.rows)
        matrix = _matrix(pa.parquet.read_table(source))
        session = _session(bundle)
        contestants: dict[str, Callable[[int], float | None]] = {
            "onnxruntime alone": lambda number: _alone(session, matrix),
            "plain loop": lambda number: _loop(session, source, folder / f"loop-{number}.parquet"),
            "millrace batch": lambda number: _job(bundle, source, folder / f"job-{number}"),
        }
        if other := os.environ.get("MILLRACE_SPARK_PYTHON"):  # pandas, too, is in its environment
            script = Path(__file__).with_name("pandas_loop.py")
            command = [other, str(script), str(bundle.model), str(source)]
            contestants["pandas loop"] = lambda number: _run(command, folder / f"pandas-{number}.parquet")
            cluster = Cluster(other, "local[1]", {"spark.ui.enabled": "false", "spark.log.level": "ERROR"})
            contestants["millrace batch on Spark"] = lambda number: _job(
                bundle, source, folder / f"spark-{number}", cluster
            )
        runs: dict[str, list[Run]] = {who: [] for who in contestants}
        for number in range(options.runs):
            for who, work in contestants.items():
                console.print(f"{who}, {number + 1} of {options.runs}", style="dim")
                runs[who].append(_measure(lambda work=work, number=number: work(number), options.rows))  # type: ignore[misc]
    _show(console, runs, options.rows)


def _measure(work: Callable[[], float | None], rows: int) -> Run:
    """What it takes; `work` returns the CPU seconds of processes that are not children of this one."""
    cpu, started = _cpu(), time.monotonic()
    elsewhere = work() or 0.0
    return Run(rows / (time.monotonic() - started), (_cpu() - cpu + elsewhere) * 1e6 / rows)


def _cpu() -> float:
    """CPU seconds of this process and of the children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _trees(folder: Path) -> Bundle:
    """A hundred trees of depth 6 on 30 numbers."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(20_000, len(FEATURES))).astype(np.float32)
    truth = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0).astype(int)
    trees = LGBMClassifier(n_estimators=100, max_depth=6, num_leaves=64, n_jobs=1, verbose=-1).fit(rows, truth)
    return export(
        trees,
        rows[:2_000],
        origin=Origin("trees", MADE_AT),
        directory=folder,
        labels=truth[:2_000],
        feature_names=FEATURES,
    )


def _file(path: Path, rows: int) -> Path:
    random = np.random.default_rng(6)
    columns = {name: random.normal(size=rows).astype(np.float32) for name in FEATURES}
    pa.parquet.write_table(pa.table({"id": np.arange(rows), **columns}), path, row_group_size=250_000)
    return path


def _matrix(table: pa.Table) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([table.column(name).to_numpy() for name in FEATURES], axis=1)


def _session(bundle: Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
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


def _run(command: Sequence[str], target: Path) -> None:
    subprocess.run([*command, str(target)], check=True, capture_output=True)


def _job(bundle: Bundle, source: Path, target: Path, cluster: Cluster | None = None) -> float:
    pids: list[int] = []
    spent: dict[int, float] = {}

    def look(_: Progress) -> None:
        """Workers are children of the process that they are copies of, executors of Spark's driver."""
        for pid in pids:
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                if process.ppid() != os.getpid():
                    times = process.cpu_times()
                    spent[process.pid] = times.user + times.system

    job = Job(input=str(source), output=str(target), digest=bundle.digest, model="trees/1", keep=("id",))
    resources = Resources(bundle.directory, workers=1, cluster=cluster)
    done = run_job(job, resources, on_start=pids.extend, on_progress=look)
    assert done.scored == done.read
    return sum(spent.values())


def _show(console: Console, runs: dict[str, list[Run]], rows: int) -> None:
    table = Table(
        "", "rows/s", "CPU s per million", "of ONNX Runtime alone", title=f"{rows:,} rows, 100 trees, one thread"
    )
    base = median(run.rows_per_sec for run in runs["onnxruntime alone"])
    for who, found in runs.items():
        speed, cpu = median(run.rows_per_sec for run in found), median(run.cpu_secs_per_million for run in found)
        figures = {"rows": rows, "rows_per_sec": round(speed), "cpu_secs_per_million": round(cpu, 2)}
        sys.stdout.write(json.dumps({"batch": who, **figures, "of_onnxruntime": round(speed / base, 2)}) + "\n")
        table.add_row(who, f"{speed:,.0f}", f"{cpu:.2f}", f"{speed / base:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
