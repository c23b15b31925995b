import io
import json
import os
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from millrace.client.sources import Chunk, Source, chunks
from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.errors import RequestError

ROWS = [{"station": "omaha", "wind": 1.5}, {"station": "lincoln", "wind": None}, {"station": "omaha", "wind": 2.0}]


def read(source: Source, **options: FileFormat | int) -> list[dict[str, object]]:
    return [dict(row) for chunk in chunks(source, **options) for row in chunk.mappings("test")]  # type: ignore[arg-type]


def written(folder: Path, kind: FileFormat) -> Path:
    path = folder / f"rows.{kind}"
    table = pa.Table.from_pylist(ROWS)
    match kind:
        case FileFormat.JSON:
            path.write_text(json.dumps(ROWS))
        case FileFormat.JSONL:
            path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
        case FileFormat.CSV:
            path.write_text("station,wind\nomaha,1.5\nlincoln,\nomaha,2.0\n")
        case FileFormat.PARQUET:
            pyarrow.parquet.write_table(table, path)
        case FileFormat.ARROW:
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table)
        case FileFormat.ORC:
            pyarrow.orc.write_table(table, path)
        case FileFormat.AVRO:
            fields = [{"name": "station", "type": "string"}, {"name": "wind", "type": ["null", "double"]}]
            with path.open("wb") as file:
                fastavro.writer(file, {"type": "record", "name": "Row", "fields": fields}, ROWS)
    return path


@pytest.mark.parametrize("kind", list(FileFormat))
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: FileFormat) -> None:
    assert read(written(tmp_path, kind)) == ROWS


@pytest.mark.parametrize("kind", list(FileFormat))
def test_an_open_stream_gives_the_same_rows(tmp_path: Path, kind: FileFormat) -> None:
    assert read(io.BytesIO(written(tmp_path, kind).read_bytes()), file_format=kind) == ROWS


@pytest.mark.parametrize("kind", list(FileFormat))
def test_the_last_chunk_says_that_everything_is_read(tmp_path: Path, kind: FileFormat) -> None:
    last = list(chunks(written(tmp_path, kind)))[-1]
    assert last.total
    footer = 300 if kind is FileFormat.ARROW else 0  # which lies behind the last row
    assert last.total - footer <= last.done <= last.total


@pytest.mark.parametrize("kind", [kind for kind in FileFormat if kind is not FileFormat.JSONL])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, kind: FileFormat) -> None:
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(b"a,b\n1,2,3\n" if kind is FileFormat.CSV else b"\xff\x00 nothing of the kind")
    with pytest.raises(RequestError, match=r"damaged\.\w+ is not"):
        read(path)


def test_an_arrow_stream_is_read_like_a_file(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "rows.arrows"
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    assert read(path) == ROWS


def test_tables_and_iterables_are_read_in_chunks() -> None:
    assert [len(chunk) for chunk in chunks(pa.Table.from_pylist(ROWS), chunk_rows=2)] == [2, 1]
    assert [(chunk.first, chunk.done, chunk.total) for chunk in chunks(ROWS, chunk_rows=2)] == [(1, 2, 3), (3, 3, 3)]
    assert [chunk.total for chunk in chunks(iter(ROWS))] == [None]


def test_lines_of_json_stay_as_they_are() -> None:
    lines = [b'{"a": 1', b"\xff", b'{"b":2}']
    [chunk] = chunks(iter(lines))
    assert list(chunk.texts) == lines


def test_a_damaged_line_is_named_only_when_it_must_be_read() -> None:
    chunk = Chunk(first=7, done=0, total=None, texts=[b'{"a":1}', b'{"a":'])
    with pytest.raises(RequestError, match="here: row 8 is not JSON"):
        chunk.mappings("here")
    with pytest.raises(RequestError, match="row 7 is not a JSON object"):
        Chunk(first=7, done=0, total=None, texts=[b"[1]"]).mappings("here")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.csv cannot be read: No such file") as refused:
        read(tmp_path / "none.csv")
    assert refused.value.remedy == "check the path"


def test_an_unknown_ending_names_the_known_formats() -> None:
    assert format_of(Path("A.PARQUET")) is FileFormat.PARQUET
    with pytest.raises(RequestError, match=r"the ending '\.xlsx' says no format") as refused:
        format_of(Path("a.xlsx"))
    assert "parquet" in refused.value.remedy


def test_an_array_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, 2]')
    with pytest.raises(RequestError, match="element 2 is not an object"):
        read(path)


def test_lines_of_a_pipe_are_given_as_they_come() -> None:
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as stream, os.fdopen(outlet, "wb", buffering=0) as pipe:
        arriving = chunks(stream)
        pipe.write(b'{"a":1}\n\n{"a":2}\n{"a":')
        assert list(next(arriving).texts) == [b'{"a":1}', b'{"a":2}']
        pipe.write(b"3}\n")
        assert list(next(arriving).texts) == [b'{"a":3}']
        pipe.write(b'{"a":4}')
        pipe.close()
        assert [list(chunk.texts) for chunk in arriving] == [[b'{"a":4}']]
