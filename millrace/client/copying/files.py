"""Files and folders by URI: every format that is known, on every file system that fsspec knows."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any, Final

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from millrace.client.copying.ports import Connector, End, Page, Refused, Row, State
from millrace.client.sources import chunks
from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.errors import RequestError
from millrace.store.places import STAGING, Place

MANIFEST: Final = "_copy.json"
"""Says which parts there are, and how far the source is read with them."""

_SHOWN_CHARACTERS: Final = 1_000


class FileSource:
    """The rows of a file or of a folder's files, in the order of their paths.

    The state is a path and a number of rows. So a file may grow at its end, and new files may come if their paths sort
    after the others; what is put before is not seen.
    """

    def __init__(self, end: End) -> None:
        self._place = Place(end.uri, end.options.source_credentials)
        self._format = FileFormat(end.options.file_format) if end.options.file_format else None
        self._page_rows = end.options.page_rows

    def pages(self, after: State | None) -> Iterator[Page]:
        """See `Source`."""
        last, done = (after["file"], after["rows"]) if after else ("", 0)
        for path in sorted(file.path for file in self._place.files()):
            if path >= last:
                yield from self._file(path, done if path == last else 0)

    def between(self, after: State | None, until: State) -> Page:
        """See `RepeatingSource`."""
        rows: list[Row] = []
        refused: list[Refused] = []
        for page in self._file(until["file"], after["rows"] if after and after["file"] == until["file"] else 0):
            further = max(page.state["rows"] - until["rows"], 0)
            if further and page.refused:
                raise _other_pages()
            rows += page.rows[: len(page.rows) - further]
            refused += page.refused
            if page.state["rows"] >= until["rows"]:
                break
        return Page(rows, until, refused)

    def close(self) -> None:
        """Nothing is kept open."""

    def _file(self, path: str, done: int) -> Iterator[Page]:
        with self._place.open(path) as file:
            seen = 0
            for rows, refused in read_rows(file, self._format or format_of(path), path, self._page_rows):
                count, skipped = len(rows) + len(refused), max(done - seen, 0)
                seen += count
                if skipped < count:
                    yield Page(_after(rows, refused, skipped), {"file": path, "rows": seen}, refused)


def _after(rows: Sequence[Row], refused: Sequence[Refused], skipped: int) -> Sequence[Row]:
    """The rows of a page that an earlier run did not have, which had other pages."""
    if skipped and refused:
        raise _other_pages()
    return rows[skipped:]


def _other_pages() -> RequestError:
    return RequestError(
        "the size of a page was another when this copy began",
        remedy="give the --page-rows of then, or another --name",
    )


def read_rows(
    file: IO[bytes], kind: FileFormat, place: str, page_rows: int
) -> Iterator[tuple[Sequence[Row], Sequence[Refused]]]:
    """Rows of an open file, page by page, and apart from them the lines that are none.

    Raises:
        RequestError: The file is not of its format.
    """
    match kind:
        case FileFormat.JSONL:
            yield from _lines(file, place, page_rows)
        case FileFormat.CSV:
            yield from _csv(file, place, page_rows)
        case _:
            for chunk in chunks(file, file_format=kind, chunk_rows=page_rows):
                yield chunk.mappings(place), ()


def _lines(file: IO[bytes], place: str, page_rows: int) -> Iterator[tuple[Sequence[Row], Sequence[Refused]]]:
    numbered = enumerate(file, 1)
    while page := list(islice(numbered, page_rows)):
        rows: list[Row] = []
        refused: list[Refused] = []
        for number, line in page:
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                refused.append(_refused(place, number, f"it is not JSON: {error.msg}", line))
                continue
            if isinstance(row, dict):
                rows.append(row)
            else:
                refused.append(_refused(place, number, "it is not a JSON object", line))
        yield rows, refused


def _csv(file: IO[bytes], place: str, page_rows: int) -> Iterator[tuple[Sequence[Row], Sequence[Refused]]]:
    refused: list[Refused] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"it has {row.actual_columns} columns, and the file has {row.expected_columns}"
        refused.append(_refused(place, row.number or 0, reason, row.text.encode()))
        return "skip"

    reader = pyarrow.csv.open_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=8 << 20),
        parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=note),
    )
    for batch in reader:
        noted = refused.copy()
        refused.clear()
        for first in range(0, batch.num_rows, page_rows):
            yield batch.slice(first, page_rows).to_pylist(), noted
            noted = []
    if refused:
        yield (), refused


def _refused(place: str, row: int, reason: str, text: bytes) -> Refused:
    return Refused(place, row, reason, text.decode(errors="replace").rstrip("\r\n")[:_SHOWN_CHARACTERS])


class FileSink:
    """A folder of parts and a manifest.

    A part is written aside; the manifest that names it makes it count, together with the source's state; then it moves
    to where readers look. A run that died in between left parts that count, and the next one moves them first.
    """

    def __init__(self, end: End) -> None:
        self._place = Place(end.uri, end.options.sink_credentials)
        self._kind = FileFormat(end.options.file_format or FileFormat.JSONL)
        if self._kind not in {FileFormat.JSONL, FileFormat.CSV, FileFormat.PARQUET, FileFormat.ARROW}:
            raise RequestError(f"{self._kind} is not written", remedy="choose jsonl, csv, parquet or arrow")
        self._name = end.name
        self._manifest = self._place.read_json(MANIFEST) or {"copy": end.name, "state": None, "parts": []}
        if self._manifest["copy"] != end.name:
            raise RequestError(f"{end.uri} holds another copy", remedy="name another folder, or that copy's --name")
        for part in self._manifest["parts"]:
            self._place.move((STAGING, part), (part,))

    def position(self) -> State | None:
        """See `Sink`."""
        state: State | None = self._manifest["state"]
        return state

    def write(self, page: Page) -> None:
        """See `Sink`."""
        parts = list(self._manifest["parts"])
        if page.rows:
            part = f"part-{len(parts):08}.{self._kind}"
            with self._place.writing(STAGING, part) as file:
                file.write(_encoded(page.rows, self._kind))
            parts.append(part)
        self._manifest = {"copy": self._name, "state": page.state, "parts": parts}
        self._place.write_json(self._manifest, MANIFEST)
        if page.rows:
            self._place.move((STAGING, parts[-1]), (parts[-1],))

    def close(self) -> None:
        """Nothing is kept open."""


def _encoded(rows: Sequence[Row], kind: FileFormat) -> bytes:
    sink = io.BytesIO()
    if kind is FileFormat.JSONL:
        sink.writelines(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        return sink.getvalue()
    table = _table(rows)
    match kind:
        case FileFormat.CSV:
            pyarrow.csv.write_csv(table, sink)
        case FileFormat.PARQUET:
            pyarrow.parquet.write_table(table, sink)
        case _:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    return sink.getvalue()


def _table(rows: Sequence[Row]) -> pa.Table:
    names: dict[str, Any] = {name: None for row in rows for name in row}
    try:
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RequestError(
            f"the rows are no table: {str(error).partition(chr(10))[0]}", remedy="write JSON lines: --as jsonl"
        ) from None


FILES: Final = Connector(FileSource, FileSink)
