"""How files are written, told by their names: one list for whoever reads or writes files."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from millrace.core.errors import RequestError


class FileFormat(StrEnum):
    """How a file is written."""

    JSON = "json"
    """One object, or an array of objects."""
    JSONL = "jsonl"
    """One object a line."""
    CSV = "csv"
    """With a line of column names; types are found by looking."""
    PARQUET = "parquet"
    ARROW = "arrow"
    """Arrow IPC, file or stream."""
    AVRO = "avro"
    """Avro's container file."""
    ORC = "orc"


SUFFIXES: Final[Mapping[str, FileFormat]] = {
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".arrows": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".avro": FileFormat.AVRO,
    ".orc": FileFormat.ORC,
}


def format_of(path: str | PurePath) -> FileFormat:
    """The format that a file's name says.

    Raises:
        RequestError: The name's ending is none that is known.
    """
    suffix = PurePath(path).suffix
    try:
        return SUFFIXES[suffix.lower()]
    except KeyError:
        raise RequestError(
            f"{path}: the ending {suffix!r} says no format",
            remedy=f"name the format; known are {', '.join(FileFormat)}",
        ) from None
