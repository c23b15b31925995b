"""Texts of many rows at once: the pieces that all rows share, and a column of what differs between each two of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any, Self, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.codec.avro_binary import encode_doubles, encode_longs


@dataclass(frozen=True, slots=True)
class Choices:
    """A text for each row, one of a few.

    Attributes:
        texts: What there is to choose from, as it is written.
        of_row: The text of each row, as its place among them.
    """

    texts: Sequence[bytes]
    of_row: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class JsonTexts:
    """A text for each row, which is written as JSON: quoted, and escaped where it must be."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class AvroLongs:
    """An integer for each row, which is written as Avro's long."""

    numbers: NDArray[np.signedinteger]


@dataclass(frozen=True, slots=True)
class AvroDoubles:
    """A number for each row, which is written as Avro's double."""

    numbers: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class AvroTexts:
    """A text for each row, which is written as Avro's string.

    Attributes:
        template: What the texts are made of.
        columns: What is put into it.
    """

    template: "Template"
    columns: "Sequence[Column]"


Column: TypeAlias = (
    NDArray[np.int64]
    | NDArray[np.float32]
    | Choices
    | JsonTexts
    | AvroLongs
    | AvroDoubles
    | AvroTexts
    | Sequence[bytes]
)
"""Integers in decimal; floats as the shortest decimal that reads back as the same float, `null` for those that are not
finite; texts; what Avro writes; or bytes that stay what they are."""


@dataclass(frozen=True, slots=True)
class Template:
    """What is written of each row: the pieces, with a column between each two.

    >>> (Template((b"a=", b"")) + Template((b", b=", b"."))).pieces
    (b'a=', b', b=', b'.')
    """

    pieces: tuple[bytes, ...]

    @classmethod
    def text(cls, text: bytes) -> Self:
        """A template without columns."""
        return cls((text,))

    def __add__(self, other: "Template") -> "Template":
        """This one, and then the other."""
        last, first = self.pieces[-1], other.pieces[0]
        return Template((*self.pieces[:-1], last + first, *other.pieces[1:]))


Fill: TypeAlias = Callable[[Template, Sequence[Column]], Sequence[bytes]]
"""Writes the text of each row. There is at least one column, all of one length, and one between each two pieces."""


def fill(template: Template, columns: Sequence[Column]) -> list[bytes]:
    """Writes the text of each row, in C but for what every column costs once. See `Fill`."""
    marks = (b"%d" if _is_whole(column) else b"%b" for column in columns)
    first, *others = (piece.replace(b"%", b"%%") for piece in template.pieces)
    pattern = first + b"".join(mark + piece for mark, piece in zip(marks, others, strict=True))
    return list(map(pattern.__mod__, zip(*map(_written, columns), strict=True)))


def rows_of(column: Column) -> int:
    """How many rows the column has."""
    match column:
        case Choices(_, of_row):
            return len(of_row)
        case JsonTexts(texts):
            return len(texts)
        case AvroLongs(numbers) | AvroDoubles(numbers):
            return len(numbers)
        case AvroTexts(_, columns):
            return rows_of(columns[0])
    return len(column)


def _is_whole(column: Column) -> bool:
    return isinstance(column, np.ndarray) and column.dtype.kind == "i"


def _written(column: Column) -> Iterable[Any]:  # noqa: PLR0911 - one per kind
    match column:
        case Choices(texts, of_row):
            return map(texts.__getitem__, of_row.tolist())
        case JsonTexts(texts):
            return map(orjson.dumps, texts)
        case AvroLongs():
            return encode_longs(column.numbers)
        case AvroDoubles():
            return encode_doubles(column.numbers)
        case AvroTexts(template, columns):
            filled = fill(template, columns)
            return map(add, encode_longs(np.fromiter(map(len, filled), np.int64, len(filled))), filled)
        case np.ndarray():
            numbers: list[Any] = column.tolist() if _is_whole(column) else json_numbers(column)
            return numbers
    return column


def json_numbers(column: NDArray[np.generic]) -> list[bytes]:
    """Each number as JSON, at least one; `null` for what is not finite."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
