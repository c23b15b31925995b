"""Whole jobs on real files with real processes, some of which die."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from batch_files import job, read_output, rows, scored_alone, write

from millrace.core.errors import FatalError, RequestError
from millrace.serving.bundle import Bundle
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from millrace.transform import Program, Transform
from millrace_batch.app import Resources, read_progress, run_job

ROWS = 20_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return linear_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> tuple[list[str], bytes]:
    labels, scores = scored_alone(bundle, rows(ROWS))
    return labels, np.ascontiguousarray(scores[:, 1]).tobytes()


def answers(folder: Path) -> tuple[list[str], bytes]:
    table = read_output(folder)
    assert table.column("id").to_pylist() == list(range(ROWS))
    return table.column("label").to_pylist(), table.column("score_yes").to_numpy().tobytes()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl", ".orc", ".avro"])
def test_every_format_gives_the_bits_of_one_process(
    bundle: Bundle, expected: tuple[list[str], bytes], tmp_path: Path, suffix: str
) -> None:
    write(rows(ROWS), tmp_path / "in" / f"rows{suffix}")
    done = run_job(job(bundle, tmp_path / "in", tmp_path / "out", split_rows=5_000), Resources(bundle.directory))
    assert (done.read, done.scored, done.refused, done.is_complete) == (ROWS, ROWS, 0, True)
    table = read_output(tmp_path / "out")
    assert [int(number) for number in table.column("id").to_pylist()] == [int(row) for row in sorted_ids(suffix)]
    order = np.argsort(table.column("id").cast(pa.int64()).to_numpy())
    labels = np.array(table.column("label").to_pylist())[order].tolist()
    assert (labels, table.column("score_yes").to_numpy()[order].tobytes()) == expected


def sorted_ids(suffix: str) -> list[int]:
    """Formats without types keep texts as texts, which sort otherwise."""
    return sorted(range(ROWS), key=str if suffix == ".csv" else int)


def test_parts_say_what_made_them_and_the_manifest_lists_them(bundle: Bundle, tmp_path: Path) -> None:
    write(rows(3_000), tmp_path / "in" / "rows.parquet")
    run_job(job(bundle, tmp_path / "in", tmp_path / "out", split_rows=1_000), Resources(bundle.directory, workers=2))
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert [part["first_row"] for part in manifest["parts"]] == [0, 1_000, 2_000]
    for part in manifest["parts"]:
        content = (tmp_path / "out" / part["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
    metadata = pa.parquet.read_schema(tmp_path / "out" / manifest["parts"][0]["file"]).metadata
    assert metadata[b"millrace.digest"].decode() == bundle.digest
    assert not (tmp_path / "out" / "_staging").exists()


def test_bad_rows_stand_aside_with_file_row_and_reason(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.csv").write_text("id,a,b,c\n0,1,2,3\n1,one,2,3\n2,,2,3\n3,1,2,3\n")
    (tmp_path / "in" / "rows.jsonl").write_text('{"id":"4","a":1,"b":2,"c":3}\n{"id":"5","a":1\n{"id":"6","a":"x"}\n')
    done = run_job(job(bundle, tmp_path / "in", tmp_path / "out"), Resources(bundle.directory))
    assert (done.read, done.scored, done.refused) == (7, 3, 4)
    refused = [
        json.loads(line) for file in (tmp_path / "out" / "_refused").iterdir() for line in file.read_text().splitlines()
    ]
    found = sorted((Path(each["file"]).name, each["row"], each["reason"]) for each in refused)
    assert found == [
        ("rows.csv", 1, "wrong_type"),
        ("rows.csv", 2, "missing_field"),
        ("rows.jsonl", 1, "malformed"),
        ("rows.jsonl", 2, "malformed"),
    ]


def test_a_transform_makes_the_features_and_leaves_rows_out(bundle: Bundle, tmp_path: Path) -> None:
    table = rows(100)
    renamed = table.rename_columns(["id", "first", "b", "c"])
    write(renamed, tmp_path / "in.parquet")
    program = Program.of(
        Transform.parse(
            {
                "transform": "names",
                "input": [{"name": "id", "type": "int64"}, *({"name": name} for name in ("first", "b", "c"))],
                "steps": [
                    {"step": "filter", "where": "id < 50"},
                    {"step": "rename", "columns": {"first": "a"}},
                    {"step": "drop", "columns": ["id"]},
                ],
            },
            subject="test",
        )
    )
    description = job(bundle, tmp_path / "in.parquet", tmp_path / "out", transform=program.fingerprint)
    done = run_job(description, Resources(bundle.directory, program))
    assert (done.read, done.scored, done.filtered) == (100, 50, 50)
    assert read_output(tmp_path / "out").column("label").to_pylist() == scored_alone(bundle, table)[0][:50]


def test_killed_workers_are_replaced_and_nothing_is_there_twice(
    bundle: Bundle, expected: tuple[list[str], bytes], tmp_path: Path
) -> None:
    write(rows(ROWS), tmp_path / "in" / "rows.parquet")
    seen: list[int] = []

    def kill_the_first(pids: list[int]) -> None:
        if len(seen) < 2:
            os.kill(pids[0], signal.SIGKILL)
        seen.append(pids[0])

    done = run_job(
        job(bundle, tmp_path / "in", tmp_path / "out", split_rows=1_000),
        Resources(bundle.directory, workers=2),
        on_start=kill_the_first,
    )
    assert len(seen) == 3
    assert done.scored == ROWS
    assert answers(tmp_path / "out") == expected


COORDINATOR = """
    import sys
    from pathlib import Path
    from batch_files import job
    from millrace.serving.bundle import open_bundle
    from millrace_batch.app import Resources, run_job

    if __name__ == "__main__":
        bundle = open_bundle(Path(sys.argv[1]))
        run_job(
            job(bundle, Path(sys.argv[2]), Path(sys.argv[3]), split_rows=1_000),
            Resources(bundle.directory, workers=2),
            on_progress=lambda progress: print(progress.scored, flush=True),
        )
"""


def test_a_killed_coordinator_is_followed_by_one_that_goes_on(
    bundle: Bundle, expected: tuple[list[str], bytes], tmp_path: Path
) -> None:
    source, target = write(rows(ROWS), tmp_path / "in" / "rows.parquet").parent, tmp_path / "out"
    script = tmp_path / "coordinator.py"
    script.write_text(textwrap.dedent(COORDINATOR))
    command = [sys.executable, str(script), str(bundle.directory), str(source), str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as coordinator:
        assert coordinator.stdout is not None
        next(line for line in coordinator.stdout if int(line) > 0)
        coordinator.kill()
    assert not (target / "_manifest.json").exists()
    assert not list(target.glob("part-*"))
    before = len(list((target / "_staging" / "done").iterdir()))
    assert before > 0

    done = run_job(job(bundle, source, target, split_rows=1_000), Resources(bundle.directory, workers=2))
    assert (done.read, done.scored) == (ROWS, ROWS)
    assert answers(target) == expected
    eventually(lambda: not _is_alive(command[1]), what="the workers of the first coordinator are gone")


def _is_alive(script: str) -> bool:
    found = subprocess.run(["pgrep", "-f", script], capture_output=True, check=False)
    return found.returncode == 0


def test_a_finished_job_run_again_does_nothing(bundle: Bundle, tmp_path: Path) -> None:
    description = job(bundle, write(rows(10), tmp_path / "in.parquet"), tmp_path / "out")
    first = run_job(description, Resources(bundle.directory))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run_job(description, Resources(bundle.directory)) == first == read_progress(str(tmp_path / "out"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == stamps


def test_what_cannot_work_is_said_before_anything_is_published(bundle: Bundle, tmp_path: Path) -> None:
    table = rows(10)
    cases = [
        (tmp_path / "none", "there is nothing at"),
        (write(table.drop_columns(["a"]), tmp_path / "narrow.parquet"), "there is no column 'a'"),
        (tmp_path / "text.txt", "says no format"),
        (tmp_path / "broken.parquet", "broken.parquet is not parquet"),
    ]
    (tmp_path / "text.txt").write_text("a")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    for number, (source, words) in enumerate(cases):
        with pytest.raises(RequestError, match=words):
            run_job(job(bundle, source, tmp_path / f"out{number}"), Resources(bundle.directory))
        assert not list(tmp_path.glob(f"out{number}/part-*"))


def test_an_output_is_of_one_job(bundle: Bundle, tmp_path: Path) -> None:
    source = write(rows(10), tmp_path / "in.parquet")
    run_job(job(bundle, source, tmp_path / "out"), Resources(bundle.directory))
    with pytest.raises(RequestError, match="the result of another job"):
        run_job(job(bundle, source, tmp_path / "out", split_rows=5), Resources(bundle.directory))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(RequestError, match="is not empty"):
        run_job(job(bundle, source, tmp_path / "mine"), Resources(bundle.directory))


def test_a_split_that_kills_every_worker_is_named(bundle: Bundle, tmp_path: Path) -> None:
    source = write(rows(10), tmp_path / "in.parquet")
    with pytest.raises(FatalError, match=r"workers died of .*in.parquet"):
        run_job(
            job(bundle, source, tmp_path / "out"),
            Resources(bundle.directory),
            on_start=lambda pids: os.kill(pids[0], signal.SIGKILL),
        )
