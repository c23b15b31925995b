"""Files through a transform: every format gives the same rows, and no half-written file is ever seen."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from millrace.client import apply_transform, fit_transform, read_program
from millrace.core.errors import RequestError
from millrace.transform import Program, Transform

DOCUMENT = {
    "transform": "days",
    "input": [{"name": "temp"}, {"name": "day", "type": "int64"}],
    "steps": [
        {"step": "filter", "where": "day != 2"},
        {"step": "scale", "columns": ["temp"], "by": "minmax"},
    ],
}
TABLE = pa.table({"temp": [0.0, 5.0, 10.0], "day": [1, 2, 3], "more": ["x", "y", "z"]})
EXPECTED = {"temp": [0.0, 1.0], "day": [1, 3]}


@pytest.fixture
def program() -> Program:
    return Program.fit(Transform.parse(DOCUMENT, subject="days"), TABLE)


def write(path: Path, table: pa.Table = TABLE) -> Path:
    match path.suffix:
        case ".csv":
            pa.csv.write_csv(table, path)
        case ".parquet":
            pa.parquet.write_table(table, path)
        case ".arrow":
            pa.feather.write_feather(table, path)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


def read(path: Path) -> dict[str, list[object]]:
    match path.suffix:
        case ".csv":
            table = pa.csv.read_csv(path)
        case ".parquet":
            table = pa.parquet.read_table(path)
        case ".arrow":
            table = pa.feather.read_table(path)
        case _:
            table = pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])
    rows: dict[str, list[object]] = table.to_pydict()
    return rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow", ".jsonl"])
def test_every_format_gives_the_same_rows(program: Program, tmp_path: Path, suffix: str) -> None:
    source, target = write(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    seen: list[int] = []
    done = apply_transform(program, source, target, on_rows=seen.append)
    assert (done.read, done.written, done.refused_rows, seen[-1]) == (3, 2, 0, 3)
    assert read(target) == EXPECTED
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]


def test_fitting_a_file_is_fitting_its_table(program: Program, tmp_path: Path) -> None:
    source = write(tmp_path / "days.csv")
    assert fit_transform(Transform.parse(DOCUMENT, subject="days"), source).fingerprint == program.fingerprint


def test_rows_are_numbered_over_all_batches(tmp_path: Path) -> None:
    rows = 150_000
    table = pa.table(
        {"temp": pa.array([None if row % 50_000 == 49_999 else 1.0 for row in range(rows)]), "day": [1] * rows}
    )
    transform = Transform.parse({**DOCUMENT, "steps": []}, subject="days")
    done = apply_transform(Program.of(transform), write(tmp_path / "in.parquet", table), tmp_path / "out.parquet")
    assert [refused.row for refused in done.refused] == [49_999, 99_999, 149_999]
    assert (done.read, done.written) == (rows, rows - 3)


def test_a_file_of_no_rows_becomes_a_file_of_no_rows(program: Program, tmp_path: Path) -> None:
    apply_transform(program, write(tmp_path / "in.parquet", TABLE.slice(0, 0)), tmp_path / "out.parquet")
    assert pa.parquet.read_table(tmp_path / "out.parquet").schema == pa.schema(
        [("temp", pa.float64()), ("day", pa.int64())]
    )


def test_a_file_that_breaks_off_leaves_nothing_behind(program: Program, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl")
    source.write_text(source.read_text() + '{"temp": ')
    with pytest.raises(RequestError, match=r"in.jsonl cannot be read"):
        apply_transform(program, source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_what_exists_is_not_written_over(program: Program, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.csv"), write(tmp_path / "out.csv")
    before = target.read_bytes()
    with pytest.raises(RequestError, match=r"out.csv exists"):
        apply_transform(program, source, target)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("none.csv", "out.csv", "none.csv"),
        ("in.txt", "out.csv", "says no format"),
        ("in.csv", "out.avro", "is not written here"),
        ("narrow.csv", "out.csv", "has no column 'day'"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    program: Program, tmp_path: Path, source: str, target: str, words: str
) -> None:
    write(tmp_path / "in.csv")
    write(tmp_path / "narrow.csv", TABLE.select(["temp"]))
    with pytest.raises(RequestError, match=words):
        apply_transform(program, tmp_path / source, tmp_path / target)


def test_a_document_with_nothing_to_learn_is_a_program(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("transform: t\ninput:\n  - name: a\n")
    assert read_program(path).transform.transform == "t"
    path.write_text("transform: t\ninput:\n  - name: a\nsteps:\n  - step: scale\n    columns: [a]\n")
    with pytest.raises(RequestError, match="must be fitted"):
        read_program(path)
