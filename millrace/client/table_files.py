"""Tables as files: CSV, Parquet, Arrow and JSON lines, each there when it is whole, and only then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.errors import RequestError

_JSON_LINE: Final = partial(orjson.dumps, option=orjson.OPT_APPEND_NEWLINE)


@contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], object]]:
    """Write record batches to a file of the format of its ending, which must not exist yet.

    Raises:
        RequestError: It exists, or its ending says no format that is written here.
    """
    if path.exists():
        raise RequestError(f"{path} exists", remedy="choose another name, or remove it")
    partial_path = path.with_name(f".{path.name}.partial")
    try:
        with _writer(partial_path, format_of(path), schema) as write:
            yield write
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)


@contextmanager
def _writer(path: Path, kind: FileFormat, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], object]]:
    match kind:
        case FileFormat.PARQUET:
            with pa.parquet.ParquetWriter(path, schema) as parquet:
                yield parquet.write_batch
        case FileFormat.CSV:
            with pa.csv.CSVWriter(path, schema) as csv:
                yield csv.write_batch
        case FileFormat.ARROW:
            with pa.ipc.new_file(path, schema) as arrow:
                yield arrow.write_batch
        case FileFormat.JSONL:
            with path.open("wb") as lines:
                yield lambda batch: lines.writelines(map(_JSON_LINE, batch.to_pylist()))
        case _:
            raise RequestError(f"{kind} is not written here", remedy="choose one of csv, parquet, arrow, jsonl")
