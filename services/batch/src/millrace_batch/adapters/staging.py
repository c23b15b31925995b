"""One part: predictions of a split as Parquet, and its refused rows as JSON lines. Visible whole or not at all."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import IO, Final

import orjson
import pyarrow as pa
import pyarrow.parquet

from millrace.core.errors import RequestError
from millrace.store.places import STAGING, Place
from millrace_batch.adapters.scoring import ROW, RefusedRow, ScoredPiece
from millrace_batch.logic.splits import Done, Split

PARTS: Final = (STAGING, "parts")
DONE: Final = (STAGING, "done")
REFUSED: Final = "_refused"
MANIFEST: Final = "_manifest.json"
"""Written last. Readers of Parquet folders pass over names that begin with an underscore."""


def part_name(split_id: str) -> str:
    """The file of a split's predictions."""
    return f"part-{split_id}.parquet"


def refused_name(split_id: str) -> str:
    """The file of a split's refused rows."""
    return f"refused-{split_id}.jsonl"


class PartWriter:
    """Writes what becomes of one split. Use it in a `with`; `finish` makes it count.

    A worker that is killed leaves a file that nobody reads; the split is then done again, under another staged name.

    Args:
        place: The output.
        split: Whose part.
        metadata: Written into the Parquet file: what scored it.
    """

    def __init__(self, place: Place, split: Split, metadata: Mapping[str, str]) -> None:
        self._place = place
        self._split = split
        self._metadata = metadata
        self._stack = ExitStack()
        self._parquet: pa.parquet.ParquetWriter | None = None
        self._sum = hashlib.sha256()
        self._refusals: IO[bytes] | None = None
        self._read = self._scored = self._refused = 0

    def __enter__(self) -> "PartWriter":
        self._stack.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, None)

    def write(self, piece: ScoredPiece, *, read: int) -> None:
        """Write a piece of the split; pieces come in the order of the file."""
        self._read += read
        self._refused += len(piece.refused)
        if piece.refused:
            self._write_refused(piece.refused)
        if piece.table is not None:
            self._scored += piece.table.num_rows
            writer = self._writer(piece.table.schema)
            writer.write_table(_alike(piece.table, writer.schema, self._split))

    def finish(self) -> Done:
        """Make the part count, and say what is in it."""
        if self._parquet is not None:
            self._parquet.close()
        self._stack.close()
        split, filtered = self._split, self._read - self._scored - self._refused
        digest = self._sum.hexdigest() if self._scored else ""
        return Done(
            split.id,
            split.path,
            split.first_row,
            self._read,
            self._scored,
            filtered,
            self._refused,
            split.bytes,
            digest,
        )

    def _writer(self, schema: pa.Schema) -> pa.parquet.ParquetWriter:
        if self._parquet is None:
            file = self._stack.enter_context(self._place.writing(*PARTS, part_name(self._split.id)))
            described = schema.with_metadata({f"millrace.{name}": text for name, text in self._metadata.items()})
            sink = pa.PythonFile(_Summing(file, self._sum), mode="w")
            texts = [field.name for field in schema if pa.types.is_string(field.type)]
            # Scores and numbers of rows do not repeat: looking for repetitions takes longer than writing them.
            self._parquet = pa.parquet.ParquetWriter(
                sink, described, use_dictionary=texts, column_encoding={ROW: "DELTA_BINARY_PACKED"}
            )
        return self._parquet

    def _write_refused(self, refused: Iterable[RefusedRow]) -> None:
        if self._refusals is None:
            self._refusals = self._stack.enter_context(self._place.writing(*PARTS, refused_name(self._split.id)))
        for each in refused:
            document = {"file": self._split.path, "row": each.row, "reason": each.reason, "detail": each.detail}
            self._refusals.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))


def _alike(table: pa.Table, schema: pa.Schema, split: Split) -> pa.Table:
    """A kept column of a format without types may be of one type in the first rows, and of another in later ones."""
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        said = str(error).partition("\n")[0]
        raise RequestError(
            f"{split.path}: a kept column has several types: {said}", remedy="keep another column, or convert the file"
        ) from None


class _Summing:
    """A file that adds up what is written to it."""

    def __init__(self, file: IO[bytes], total: "hashlib._Hash") -> None:
        self._file = file
        self._total = total
        self.closed = False

    def write(self, data: bytes) -> int:
        self._total.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Nothing: the file is closed by whoever opened it."""

    def close(self) -> None:
        self.closed = True

    def tell(self) -> int:
        return self._file.tell()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
