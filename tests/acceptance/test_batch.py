"""Batch rows of the specification, at a size that `make chaos` raises to ten million rows (MILLRACE_BATCH_ROWS)."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from batch_files import job, rows, scored_alone
from fsspec import AbstractFileSystem

from millrace.serving.bundle import Bundle
from millrace.store.places import Place
from millrace.testing.models import linear_bundle
from millrace_batch.app import Resources, read_progress, run_job
from millrace_batch.logic.progress import Progress

ROWS = int(os.environ.get("MILLRACE_BATCH_ROWS", "300000"))
GROUP = 25_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return linear_bundle(tmp_path_factory.mktemp("bundle"))


def tables(count: int) -> Iterator[pa.Table]:
    """The same rows in every run, a group at a time: no test holds ten million of them."""
    for first in range(0, count, GROUP):
        made = rows(min(GROUP, count - first), seed=first)
        yield made.set_column(0, "id", pa.array(np.arange(first, first + len(made))))


def written(path: Path, count: int) -> Path:
    path.parent.mkdir()
    with pa.parquet.ParquetWriter(path, next(tables(1)).schema) as writer:
        for table in tables(count):
            writer.write_table(table, row_group_size=GROUP)
    return path.parent


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("source") / "years" / "rows.parquet", ROWS)


def assert_each_id_once_and_as_alone(bundle: Bundle, output: Path) -> None:
    found = pa.dataset.dataset(output, format="parquet").to_table(columns=["id", "score_yes"])
    ids, scores = found.column("id").to_numpy(), found.column("score_yes").to_numpy()
    order = np.argsort(ids, kind="stable")
    assert np.array_equal(ids[order], np.arange(ROWS))
    for table in tables(ROWS):
        _, alone = scored_alone(bundle, table)
        first = table.column("id")[0].as_py()
        assert scores[order[first : first + len(table)]].tobytes() == np.ascontiguousarray(alone[:, 1]).tobytes()


@dataclass(slots=True)
class Workers:
    """What is seen of a job's workers while they are at it."""

    pids: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    niceness: set[int] = field(default_factory=set)

    def look(self, _: Progress) -> None:
        for pid in self.pids:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
                self.niceness.add(process.nice())


def test_s15_s19_s20_every_row_once_as_one_process_scores_it_in_memory_that_stays_flat(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    tenth, whole = Workers(), Workers()
    small = written(tmp_path / "tenth" / "rows.parquet", ROWS // 10)
    for workers, folder in ((tenth, small), (whole, source)):
        run_job(
            job(bundle, folder, tmp_path / f"out-{folder.name}", split_rows=2 * GROUP),
            Resources(bundle.directory, workers=2),
            on_start=workers.pids.extend,
            on_progress=workers.look,
        )
    assert_each_id_once_and_as_alone(bundle, tmp_path / f"out-{source.name}")
    assert whole.peak_bytes < tenth.peak_bytes + 64 * MIB
    assert max(whole.niceness) >= 10  # whoever serves people goes first


COORDINATOR = """
    import sys
    from pathlib import Path
    from batch_files import job
    from millrace.serving.bundle import open_bundle
    from millrace_batch.app import Resources, read_progress, run_job

    if __name__ == "__main__":
        bundle = open_bundle(Path(sys.argv[1]))
        run_job(
            job(bundle, Path(sys.argv[2]), Path(sys.argv[3]), split_rows=25_000),
            Resources(bundle.directory, workers=2),
            on_start=lambda pids: print("workers", *pids, flush=True),
            on_progress=lambda progress: print("scored", progress.scored, flush=True),
        )
"""


def test_s18_a_worker_is_killed_and_then_the_coordinator(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    output, script = tmp_path / "out", tmp_path / "coordinator.py"
    script.write_text(textwrap.dedent(COORDINATOR))
    command = [sys.executable, str(script), str(bundle.directory), str(source), str(output)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as coordinator:
        assert coordinator.stdout is not None
        said = map(str.split, coordinator.stdout)
        [_, victim, _] = next(said)
        next(line for line in said if line[0] == "scored" and int(line[1]) > 0)
        with suppress(ProcessLookupError):
            os.kill(int(victim), signal.SIGKILL)
        next(line for line in said if line[0] == "workers")  # another has taken its place
        coordinator.kill()
    assert not (output / "_manifest.json").exists()
    assert not list(output.glob("part-*")), "a reader would see half of it"

    done = run_job(job(bundle, source, output, split_rows=25_000), Resources(bundle.directory, workers=2))
    assert (done.read, done.scored, done.is_complete) == (ROWS, ROWS, True)
    assert_each_id_once_and_as_alone(bundle, output)


class Listing(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Ten million objects in a thousand folders, of which only the names exist."""

    protocol = "listing"
    cachable = False
    listed = 0

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:  # noqa: FBT002 -- fsspec's own
        path = self._strip_protocol(path)
        if path.count("/"):
            type(self).listed += 1
            found = [{"name": f"{path}/{number:04}.csv", "size": 10, "type": "file"} for number in range(10_000)]
        else:
            found = [{"name": f"{path}/{number:04}", "size": 0, "type": "directory"} for number in range(1_000)]
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **_: object) -> dict[str, Any]:
        return {"name": self._strip_protocol(path), "size": 0, "type": "directory"}


def test_s22_ten_million_objects_are_listed_as_they_are_needed() -> None:
    fsspec.register_implementation("listing", Listing, clobber=True)
    files = Place("listing://lake").files()
    assert len({file.path for file in islice(files, 25_000)}) == 25_000
    assert Listing.listed <= 3, "the whole petabyte is listed before the first file is read"


def test_s21_a_real_job_projects_its_end_from_half_way_on_and_tells_its_hours(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    """How near the projection comes is for `make bench`: a busy machine has no even pace."""
    seen: list[Progress] = []
    resources = Resources(bundle.directory, workers=1)
    done = run_job(job(bundle, source, tmp_path / "out", split_rows=GROUP), resources, on_progress=seen.append)
    half = next(progress for progress in seen if 0.5 <= (progress.share or 0) < 1)
    document = half.document()
    assert document["projected_end"] > half.updated_at
    left = half.working_secs * (1 - document["share"]) / document["share"]
    assert document["projected_end"] - half.updated_at == pytest.approx(left, abs=1e-5)
    manifest = read_progress(str(tmp_path / "out")).document()
    assert manifest["hours"] == done.document()["hours"]
    assert manifest["working_secs"] > half.working_secs


def test_s21_half_way_the_projected_end_is_right_and_hours_are_told() -> None:
    half = Progress(1_000.0, 4_600.0, 3_600.0, 500, 500, 0, 0, done_bytes=50, total_bytes=100)
    assert half.document()["hours"] == 1.0
    assert half.document()["projected_end"] == pytest.approx(4_600.0 + 3_600.0)
    assert half.document()["share"] == 0.5
