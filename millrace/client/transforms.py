"""Transforms: fit one on data, keep it as a version, apply it to files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset

from millrace.client.identity import who_am_i
from millrace.client.table_files import table_file
from millrace.codec.file_formats import FileFormat, format_of
from millrace.core.errors import RequestError
from millrace.process.document import read_document
from millrace.process.settings import KafkaSettings
from millrace.serving.transforms import TransformEntry, TransformRegistry
from millrace.transform import Program, Refused, Transform

BATCH_ROWS: Final = 65_536

_READ: Final = {
    FileFormat.CSV: "csv",
    FileFormat.PARQUET: "parquet",
    FileFormat.ARROW: "ipc",
    FileFormat.JSONL: "json",
}


@dataclass(frozen=True, slots=True)
class AppliedTransform:
    """What became of a file's rows.

    Attributes:
        read: Rows that were read.
        written: Rows that were written.
        refused: Rows that could not be transformed, the first thousand of them with their reasons, by row from 0.
        refused_rows: How many there were.
        late: Rows that came too late for a window.
    """

    read: int
    written: int
    refused: tuple[Refused, ...]
    refused_rows: int
    late: int = 0


class Transforms:
    """The transforms of a cluster.

    Every method may raise TransientError when the broker cannot be reached, and FatalError when it refuses this client.

    Args:
        kafka: The cluster.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    def push(self, program: Program) -> TransformEntry:
        """Make a fitted transform the next version of its name; one that was pushed before is the same version.

        Raises:
            RequestError: A step cannot work on the columns that reach it; names the step's number.
        """
        with self._registry() as registry:
            return registry.push(program)

    def list(self, name: str | None = None) -> tuple[TransformEntry, ...]:
        """All versions, of one transform or of all, by name and number."""
        with self._registry() as registry:
            return registry.versions(name)

    def show(self, reference: str) -> TransformEntry:
        """The version that a reference means: `weather/3`, or `weather` for the newest.

        Raises:
            RequestError: There is no such transform or version; says which there are.
        """
        with self._registry() as registry:
            return registry.resolve(reference)

    def _registry(self) -> TransformRegistry:
        return TransformRegistry(self._kafka, who=who_am_i())


def fit_transform(transform: Transform, data: Path) -> Program:
    """Learn from a file what a transform must know. The file is held in memory, as quantiles need all of it.

    Raises:
        RequestError: The file cannot be read, lacks a column, or a step cannot work; names the step's number.
    """
    with _reading(data):
        table = _dataset(transform, data).to_table(columns=[column.name for column in transform.input])
    return Program.fit(transform, table)


def read_program(path: Path) -> Program:
    """Read a transform that was exported, or a document of one that has nothing to learn.

    Raises:
        RequestError: The file holds neither, or a step must be fitted first.
    """
    document = read_document(path)
    if "learned" in document:
        return Program.load(document, subject=str(path))
    return Program.of(Transform.parse(document, subject=str(path)))


def apply_transform(
    program: Program, source: Path, target: Path, *, on_rows: Callable[[int], None] = lambda rows: None
) -> AppliedTransform:
    """Transform a file into another one, batch by batch; a stateful transform needs all rows at once.

    Args:
        program: What to do.
        source: CSV, Parquet, Arrow or JSON lines, by its ending.
        target: CSV, Parquet, Arrow or JSON lines, by its ending; must not exist.
        on_rows: Told how many rows are done so far.

    Raises:
        RequestError: A file cannot be read or written, or lacks a column.
    """
    read = written = refused_rows = late = 0
    refused: list[Refused] = []
    schema = pa.schema([(column.name, column.type.arrow) for column in program.check()])
    with _reading(source), table_file(target, schema) as write:
        for batch in _batches(program.transform, source):
            made = program.apply(batch)
            write(made.table)
            refused += [_renumbered(each, read) for each in made.refused[: _MOST_SHOWN - len(refused)]]
            read, written = read + batch.num_rows, written + made.table.num_rows
            refused_rows, late = refused_rows + len(made.refused), late + made.late
            on_rows(read)
    return AppliedTransform(read, written, tuple(refused), refused_rows, late)


_MOST_SHOWN: Final = 1_000


def _renumbered(refused: Refused, before: int) -> Refused:
    return Refused(refused.row + before, refused.step, refused.reason, refused.detail)


def _dataset(transform: Transform, path: Path) -> pa.dataset.Dataset:
    kind = format_of(path)
    if kind not in _READ:
        raise RequestError(f"{path}: {kind} is not read here", remedy=f"convert it to one of {', '.join(_READ)}")
    if kind is not FileFormat.CSV:
        return pa.dataset.dataset(path, format=_READ[kind])
    # Texts of the declared columns: what is no number is then refused by its row, and not the file by its first row.
    convert = pa.csv.ConvertOptions(
        column_types={column.name: pa.string() for column in transform.input},
        strings_can_be_null=True,
        null_values=[""],
    )
    return pa.dataset.dataset(path, format=pa.dataset.CsvFileFormat(convert_options=convert))


def _batches(transform: Transform, path: Path) -> Iterator[pa.RecordBatch | pa.Table]:
    dataset = _dataset(transform, path)
    names = [column.name for column in transform.input]
    missing = [name for name in names if name not in dataset.schema.names]
    if missing:
        known = ", ".join(dataset.schema.names)
        raise RequestError(f"{path} has no column {missing[0]!r}", remedy=f"columns of the file: {known}")
    if transform.is_stateful:
        yield dataset.to_table(columns=names)
    else:
        yield from dataset.to_batches(columns=names, batch_size=BATCH_ROWS, use_threads=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror or error}", remedy="check the path") from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        said = str(error).partition("\n")[0]
        raise RequestError(f"{path} cannot be read: {said}", remedy="check the file") from error
