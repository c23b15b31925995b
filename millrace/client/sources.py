"""What can be sent: files, standard input, tables, iterables; all of it as chunks of rows.

A chunk holds rows as mappings, or as lines of JSON that stay as they are, so that a damaged line arrives as damaged as
it was: the scorer's dead letters tell what is wrong with it, and the sender does not need to know.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast

import fastavro
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet

from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.errors import RequestError

Row: TypeAlias = Mapping[str, Any]
Source: TypeAlias = "Path | IO[bytes] | pa.Table | pa.RecordBatch | Iterable[Row] | Iterable[bytes]"
"""A file, an open stream, a table, or rows: mappings, or JSON texts as bytes."""

CHUNK_ROWS: Final = 2_000

_PIECE_BYTES: Final = 256 * 1024

_CSV: Final = pyarrow.csv.ReadOptions(block_size=8 * 1024 * 1024)
"""The first block decides the types of the columns, so it had better be a large one."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a source, as mappings or as texts of JSON; the other is empty.

    Attributes:
        first: Number of the first row in the source, from 1.
        done: How much of the source is read with this chunk, in the unit of `total`.
        total: Size of the source, in a unit of its own (bytes or rows); None where nobody knows.
        rows: The rows as mappings.
        texts: The rows as texts.
    """

    first: int
    done: int
    total: int | None
    rows: Sequence[Row] = ()
    texts: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.rows) or len(self.texts)

    def mappings(self, place: str) -> Sequence[Row]:
        """The rows as mappings, texts parsed.

        Raises:
            RequestError: A text is no JSON object.
        """
        return self.rows or [_parse(text, number, place) for number, text in enumerate(self.texts, self.first)]


def name_of(source: Source) -> str:
    """What errors call a source."""
    if isinstance(source, Path):
        return str(source)
    return str(getattr(source, "name", type(source).__name__))


def chunks(source: Source, *, file_format: FileFormat | None = None, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Read a source chunk by chunk; memory holds a few chunks, not the source (`json` files excepted).

    Args:
        source: What to read.
        file_format: How a file or stream is written; by the file's name where absent, and JSON lines for a stream.
        chunk_rows: Most rows of a chunk.

    Raises:
        RequestError: The source cannot be read, or is not of its format.
    """
    match source:
        case Path():
            yield from _file(source, file_format or format_of(source), chunk_rows)
        case pa.Table() | pa.RecordBatch():
            yield from _number(_table_rows(source, chunk_rows), lambda rows: rows, source.num_rows)
        case _ if hasattr(source, "read"):
            kind = file_format or FileFormat.JSONL
            opened = cast("IO[bytes]", source)
            # Parquet and Arrow files are read from their ends, which a pipe does not have yet.
            comes = kind in {FileFormat.JSONL, FileFormat.CSV} or opened.seekable()
            stream = opened if comes else io.BytesIO(opened.read())
            yield from _stream(stream, kind, None, name_of(source), chunk_rows)
        case _:
            yield from _number(_slices(iter(source), chunk_rows), lambda rows: rows, _length(source))


def _parse(text: bytes, number: int, place: str) -> Row:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(
            f"{place}: row {number} is not JSON: {error.msg}",
            remedy="correct the row, or send without key and timestamp fields: then rows travel unread",
        ) from error
    if not isinstance(parsed, dict):
        raise RequestError(f"{place}: row {number} is not a JSON object", remedy="write every row as {...}")
    return parsed


def _file(path: Path, kind: FileFormat, chunk_rows: int) -> Iterator[Chunk]:
    try:
        with path.open("rb") as stream:
            yield from _stream(stream, kind, path.stat().st_size, str(path), chunk_rows)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}", remedy="check the path") from error


def _stream(stream: IO[bytes], kind: FileFormat, size: int | None, place: str, chunk_rows: int) -> Iterator[Chunk]:
    def bytes_read(_: int) -> int:
        return stream.tell() if size is not None else 0

    def batches_of_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Sequence[Row]]:
        return (rows for batch in batches for rows in _table_rows(batch, chunk_rows))

    try:
        match kind:
            case FileFormat.JSONL:
                lines = _lines(stream, chunk_rows) if size is not None else _arriving_lines(stream, chunk_rows)
                yield from _number(lines, bytes_read, size)
            case FileFormat.JSON:
                rows = _json_rows(stream.read(), place)
                yield from _number(_slices(iter(rows), chunk_rows), lambda done: done, len(rows))
            case FileFormat.CSV:
                yield from _number(batches_of_rows(pyarrow.csv.open_csv(stream, read_options=_CSV)), bytes_read, size)
            case FileFormat.PARQUET:
                parquet = pyarrow.parquet.ParquetFile(stream)
                batches = parquet.iter_batches(batch_size=chunk_rows)
                yield from _number(batches_of_rows(batches), lambda done: done, parquet.metadata.num_rows)
            case FileFormat.ARROW:
                yield from _number(batches_of_rows(_arrow_batches(stream)), bytes_read, size)
            case FileFormat.ORC:
                orc = _orc(stream)
                stripes = map(orc.read_stripe, range(orc.nstripes))
                yield from _number(batches_of_rows(stripes), lambda done: done, orc.nrows)
            case FileFormat.AVRO:
                yield from _number(_slices(iter(fastavro.reader(stream)), chunk_rows), bytes_read, size)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, EOFError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{place} is not {kind}: {said}", remedy="check the file, or name its format") from error


def _number(
    pieces: Iterable[Sequence[Row] | Sequence[bytes]], done: Callable[[int], int], total: int | None
) -> Iterator[Chunk]:
    """Make chunks of pieces; `done` tells from the rows so far how much of the source is read."""
    count = 0
    for rows in pieces:
        first, count = count + 1, count + len(rows)
        if rows and isinstance(rows[0], bytes):
            yield Chunk(first, done(count), total, texts=cast("Sequence[bytes]", rows))
        elif rows:
            yield Chunk(first, done(count), total, rows=cast("Sequence[Row]", rows))


def _slices(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while piece := list(islice(rows, size)):
        yield piece


def _lines(stream: IO[bytes], size: int) -> Iterator[list[bytes]]:
    for lines in _slices(iter(stream), size):
        yield list(filter(None, map(bytes.strip, lines)))


def _arriving_lines(stream: IO[bytes], size: int) -> Iterator[list[bytes]]:
    """Lines as they come: whoever writes into a pipe does not have to wait until a chunk is full."""
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while piece := read(_PIECE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from _slices(filter(None, map(bytes.strip, lines)), size)
    yield from _slices(filter(None, [rest.strip()]), size)


def _table_rows(table: pa.Table | pa.RecordBatch, size: int) -> Iterator[Sequence[Row]]:
    for start in range(0, table.num_rows, size):
        rows: Sequence[Row] = table.slice(start, size).to_pylist()
        yield rows


def _arrow_batches(stream: IO[bytes]) -> Iterator[pa.RecordBatch]:
    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(stream)
        return (file.get_batch(number) for number in range(file.num_record_batches))
    return iter(pa.ipc.open_stream(stream))


def _orc(stream: IO[bytes]) -> pyarrow.orc.ORCFile:
    try:
        return pyarrow.orc.ORCFile(stream)
    except OSError as error:  # what ORC's reader calls a file that is none
        raise ValueError(str(error)) from error


def _json_rows(text: bytes, place: str) -> list[Row]:
    parsed = orjson.loads(text)
    rows = parsed if isinstance(parsed, list) else [parsed]
    if wrong := next((number for number, row in enumerate(rows, 1) if not isinstance(row, dict)), None):
        raise RequestError(f"{place}: element {wrong} is not an object", remedy="write an array of objects")
    return rows


def _length(source: object) -> int | None:
    return len(source) if isinstance(source, Sequence) else None
