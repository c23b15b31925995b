"""Input files: how each format is cut into splits, and read as tables of the wanted columns."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import IO, Any, Final

import fastavro
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet
from numpy.typing import NDArray

from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.bisection import split_good
from millrace.core.errors import Reason, RequestError
from millrace.store.places import File, Place
from millrace_batch.logic.splits import Split

BATCH_ROWS: Final = 65_536
_TEXT_BLOCK: Final = 8 << 20

_BROKEN: Final = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, EOFError, ValueError)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of a file.

    Attributes:
        table: The rows that could be read, with the wanted columns.
        rows: int64: the number of each of them in the file.
        read: How many rows of the file these are, with those that could not be read.
        unreadable: Rows that could not be read: number in the file, reason, what is wrong.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    read: int
    unreadable: Sequence[tuple[int, Reason, str]] = ()


def plan_file(place: Place, file: File, *, kind: str, split_rows: int) -> Iterator[Split]:
    """Cut a file into splits. Formats that know where their rows lie are cut, others are read whole.

    Raises:
        RequestError: The file is not of its format.
    """
    chosen = FileFormat(kind) if kind else format_of(file.path)
    if chosen not in {FileFormat.PARQUET, FileFormat.ORC, FileFormat.ARROW} or not file.bytes:
        yield Split(file.path, 0, None, file.bytes, file.stamp)
        return
    with _opened(place, file.path, chosen) as source:
        groups = _GROUPS[chosen](source)
    if groups is None:
        yield Split(file.path, 0, None, file.bytes, file.stamp)
        return
    total, first_row, first = max(sum(groups), 1), 0, 0
    while first < len(groups):
        after, rows = first + 1, groups[first]
        while after < len(groups) and rows + groups[after] <= split_rows:
            rows, after = rows + groups[after], after + 1
        yield Split(file.path, first_row, (first, after), file.bytes * rows // total, file.stamp)
        first_row, first = first_row + rows, after


def read_split(place: Place, split: Split, *, kind: str, columns: Mapping[str, pa.DataType | None]) -> Iterator[Piece]:
    """The rows of a split, piece by piece; memory holds one piece.

    Args:
        place: Where the file lies.
        split: What to read.
        kind: How it is written; empty for what its ending says.
        columns: The wanted columns, and their types where the format knows none; None for a text. A column that the
            file does not have is left out.

    Raises:
        RequestError: The file is not of its format, or was changed since the job was planned.
    """
    chosen = FileFormat(kind) if kind else format_of(split.path)
    with _opened(place, split.path, chosen) as source:
        first_row = split.first_row
        for piece in _READERS[chosen](source, split, columns):
            yield Piece(
                piece.table,
                piece.rows + first_row,
                piece.read,
                [(row + first_row, reason, words) for row, reason, words in piece.unreadable],
            )
            first_row += piece.read


class _opened:  # noqa: N801 -- used like a function
    """A file of a format, opened; what is wrong with it is said with its name."""

    def __init__(self, place: Place, path: str, kind: FileFormat) -> None:
        self._place = place
        self._path = path
        self._kind = kind

    def __enter__(self) -> IO[bytes]:
        try:
            self._file = self._place.open(self._path)
        except FileNotFoundError:
            raise RequestError(f"{self._path} is gone", remedy="run the job again: it is planned anew") from None
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, _BROKEN):
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise RequestError(
                f"{self._path} is not {self._kind}: {said}", remedy="check the file, or name its format"
            ) from None


def _parquet_groups(source: IO[bytes]) -> list[int]:
    metadata = pa.parquet.ParquetFile(source).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _orc_groups(source: IO[bytes]) -> list[int] | None:
    file = pa.orc.ORCFile(source)
    # ORC does not say how many rows a stripe has without reading it: several stripes are one split.
    return [file.nrows] if file.nrows else []


def _arrow_groups(source: IO[bytes]) -> list[int] | None:
    if source.read(6) != b"ARROW1":
        return None
    source.seek(0)
    file = pa.ipc.open_file(source)
    return [file.get_batch(number).num_rows for number in range(file.num_record_batches)]


_GROUPS: Final[Mapping[FileFormat, Callable[[IO[bytes]], list[int] | None]]] = {
    FileFormat.PARQUET: _parquet_groups,
    FileFormat.ORC: _orc_groups,
    FileFormat.ARROW: _arrow_groups,
}

_Columns = Mapping[str, pa.DataType | None]


def _whole(table: pa.Table | pa.RecordBatch) -> Piece:
    whole = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
    return Piece(whole, np.arange(whole.num_rows), whole.num_rows)


def _read_parquet(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    file = pa.parquet.ParquetFile(source)
    names = [name for name in columns if name in file.schema_arrow.names]
    groups = None if split.groups is None else range(*split.groups)
    yield from map(_whole, file.iter_batches(BATCH_ROWS, row_groups=groups, columns=names, use_threads=False))


def _read_orc(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    file = pa.orc.ORCFile(source)
    names = [name for name in columns if name in file.schema.names]
    for number in range(file.nstripes):
        stripe = pa.Table.from_batches([file.read_stripe(number, columns=names)])
        yield from (_whole(stripe.slice(first, BATCH_ROWS)) for first in range(0, stripe.num_rows, BATCH_ROWS))


def _read_arrow(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    if split.groups is None:
        batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(source))
    else:
        file = pa.ipc.open_file(source)
        batches = (file.get_batch(number) for number in range(*split.groups))
    for batch in batches:
        yield _whole(batch.select([name for name in columns if name in batch.schema.names]))


def _read_csv(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    if not split.bytes:
        return
    # Everything is read as text and cast later, row by row: a word among numbers refuses its row and not the file.
    wanted = [name for name in columns if name in _csv_header(source)]
    options = pa.csv.ConvertOptions(
        include_columns=wanted,
        column_types=dict.fromkeys(wanted, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    reading = pa.csv.ReadOptions(block_size=_TEXT_BLOCK, use_threads=False)
    yield from map(_whole, pa.csv.open_csv(source, read_options=reading, convert_options=options))


def _csv_header(source: IO[bytes]) -> list[str]:
    """The names of the columns, of the first line alone: a name with a line break in it is not looked for."""
    names: list[str] = pa.csv.read_csv(io.BytesIO(source.readline())).column_names
    source.seek(0)
    return names


def _read_json(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    """A document is read whole: who has much writes lines."""
    document = orjson.loads(source.read())
    rows = document if isinstance(document, list) else [document]
    yield from _read_jsonl(io.BytesIO(b"".join(orjson.dumps(row) + b"\n" for row in rows)), split, columns)


def _read_jsonl(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    schema = pa.schema([(name, kind) for name, kind in columns.items() if kind is not None])
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    reading = pa.json.ReadOptions(use_threads=False, block_size=_TEXT_BLOCK)
    while lines := source.readlines(_TEXT_BLOCK):
        yield _lines(lines, partial(_read_lines, columns=columns, reading=reading, parse=parse))


def _read_lines(
    text: bytes, *, columns: _Columns, reading: pa.json.ReadOptions, parse: pa.json.ParseOptions
) -> pa.Table:
    table = pa.json.read_json(io.BytesIO(text), reading, parse)
    return table.select([name for name in columns if name in table.column_names])


def _lines(lines: Sequence[bytes], read: Callable[[bytes], pa.Table]) -> Piece:
    """Lines as a table; a line that cannot be read is found by cutting the others away."""
    words: dict[int, str] = {}

    def attempt(rows: slice) -> pa.Table | None:
        try:
            made = read(b"".join(lines[rows]))
        except pa.ArrowInvalid as error:
            words[rows.start] = str(error).partition("\n")[0]
            return None
        return made if made.num_rows == rows.stop - rows.start else None

    tables: list[pa.Table] = []
    unreadable: list[int] = []
    for rows, made in split_good(attempt, len(lines)):
        if made is None:
            unreadable.append(rows.start)
        else:
            tables.append(made)
    numbers = np.delete(np.arange(len(lines)), unreadable)
    table = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    return Piece(
        table,
        numbers,
        len(lines),
        [(row, Reason.MALFORMED, words.get(row, "it is not one JSON object")) for row in unreadable],
    )


def _read_avro(source: IO[bytes], split: Split, columns: _Columns) -> Iterator[Piece]:
    records: Iterator[Any] = iter(fastavro.reader(source))
    while rows := list(islice(records, BATCH_ROWS)):
        table = pa.Table.from_pylist(rows)
        yield _whole(table.select([name for name in columns if name in table.column_names]))


_READERS: Final[Mapping[FileFormat, Callable[[IO[bytes], Split, _Columns], Iterator[Piece]]]] = {
    FileFormat.PARQUET: _read_parquet,
    FileFormat.ORC: _read_orc,
    FileFormat.ARROW: _read_arrow,
    FileFormat.CSV: _read_csv,
    FileFormat.JSON: _read_json,
    FileFormat.JSONL: _read_jsonl,
    FileFormat.AVRO: _read_avro,
}
