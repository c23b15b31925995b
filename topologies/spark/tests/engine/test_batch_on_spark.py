"""The batch job on a real Spark cluster: a master and two workers, whose Python knows nothing of millrace."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet
import pytest
from batch_files import job, read_output, rows, scored_alone, write

from millrace import __version__
from millrace.core.errors import RequestError, TransientError
from millrace.serving.bundle import Bundle
from millrace.testing.models import linear_bundle
from millrace_batch.adapters.spark import Cluster
from millrace_batch.app import Resources, run_job
from millrace_batch.logic.progress import Progress

ROWS = 60_000
PYTHON = os.environ["MILLRACE_SPARK_PYTHON"]
CLUSTER = Cluster(PYTHON, "local-cluster[2,1,1024]", {"spark.ui.enabled": "false", "spark.log.level": "ERROR"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return linear_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(rows(ROWS), tmp_path_factory.mktemp("in") / "rows.parquet").parent


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def test_s16_s69_s79_spark_writes_the_files_of_this_machine_to_the_byte(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    here = run_job(job(bundle, source, tmp_path / "here", split_rows=10_000), Resources(bundle.directory))
    there = run_job(
        job(bundle, source, tmp_path / "there", split_rows=10_000), Resources(bundle.directory, cluster=CLUSTER)
    )
    assert (here.read, here.scored) == (there.read, there.scored) == (ROWS, ROWS)
    assert len(contents(tmp_path / "there")) == 6
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    labels, _ = scored_alone(bundle, rows(ROWS))
    assert read_output(tmp_path / "there").column("label").to_pylist() == labels


def test_s70_the_package_and_the_model_travel_to_executors_that_lack_them(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    importing = [PYTHON, "-P", "-c", "import millrace"]
    missing = subprocess.run(importing, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "ModuleNotFoundError" in missing.stderr
    run_job(job(bundle, source, tmp_path / "out"), Resources(bundle.directory, cluster=CLUSTER))
    [part] = (tmp_path / "out").glob("part-*")
    written_by = pyarrow.parquet.read_schema(part).metadata
    assert written_by[b"millrace.version"].decode() == __version__


def executors() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("CoarseGrainedExecutorBackend" in word for word in process.cmdline()):
                yield process


def test_s18_a_killed_executor_costs_nothing_and_repeats_nothing(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one_at_work(progress: Progress) -> None:
        if progress.scored and not killed:
            victim = next(executors())
            victim.kill()
            killed.append(victim.pid)

    done = run_job(
        job(bundle, source, tmp_path / "out", split_rows=1_000),
        Resources(bundle.directory, cluster=CLUSTER),
        on_progress=kill_one_at_work,
    )
    assert killed
    assert (done.read, done.scored) == (ROWS, ROWS)
    table = read_output(tmp_path / "out")
    assert table.column("id").to_pylist() == list(range(ROWS))
    assert not (tmp_path / "out" / "_staging").exists()
    assert not list(executors())


def test_a_killed_driver_is_followed_by_one_that_goes_on(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    description = job(bundle, source, tmp_path / "out", split_rows=1_000)

    def kill_after_some(scored: int, driver: list[int]) -> None:
        if scored:
            psutil.Process(driver[0]).kill()

    driver: list[int] = []
    with pytest.raises(TransientError, match="driver ended"):
        run_job(
            description,
            Resources(bundle.directory, cluster=CLUSTER),
            on_start=driver.extend,
            on_progress=lambda progress: kill_after_some(progress.scored, driver),
        )
    assert not list((tmp_path / "out").glob("part-*"))
    before = len(list((tmp_path / "out" / "_staging" / "done").iterdir()))
    assert 0 < before < 60
    assert run_job(description, Resources(bundle.directory)).scored == ROWS
    assert read_output(tmp_path / "out").column("id").to_pylist() == list(range(ROWS))


def test_what_is_missing_is_said_in_one_line(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no pyspark"):
        run_job(job(bundle, source, tmp_path / "out"), Resources(bundle.directory, cluster=Cluster("python3")))


def test_a_mistake_is_said_as_on_this_machine(bundle: Bundle, tmp_path: Path) -> None:
    narrow = write(rows(10).drop_columns(["a"]), tmp_path / "narrow.parquet")
    with pytest.raises(RequestError, match="there is no column 'a'"):
        run_job(job(bundle, narrow, tmp_path / "out"), Resources(bundle.directory, cluster=CLUSTER))
