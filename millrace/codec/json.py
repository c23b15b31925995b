"""JSON feature records, decoded many at once.

A whole batch is joined to one document, which is parsed into typed rows in one call and read into the model's input
tensors by C code. If anything is off, bisection finds the few records that spoil it, and each of those gets its own
reason. What a record becomes never depends on its neighbours: a batch is accepted exactly when the same code accepts
each of its records alone.
"""

import secrets
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np

from millrace.codec.json_fields import ID_FIELD, RowReader, row_type
from millrace.codec.json_reasons import JsonRecordReader
from millrace.codec.limits import Limits
from millrace.codec.nesting import count_byte, deepest
from millrace.codec.rows import Rows, assemble, one_row
from millrace.codec.screening import screen
from millrace.core.bisection import split_good
from millrace.core.columns import Decoded, Rejection
from millrace.core.errors import InvalidRecordError
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature

_SUSPECTS: Final = 32  # below this, looking at each record is cheaper than cutting again


def draw_nonce() -> int:
    """A number that no record can know: 62 random bits, always 19 digits."""
    return (1 << 62) + secrets.randbits(61)


class JsonDecoder:
    """Decodes JSON objects, one row each. See `millrace.core.columns.Decoder`.

    Field names are those of the signature's features. Numbers must be numbers: neither `true` nor `"1"` is one, and an
    integer feature takes no fraction. A tensor is an array of all its elements or a nested array of its shape. Where
    the signature allows values that are not finite, the literals NaN, Infinity and -Infinity and numbers beyond the
    feature's type are read as such, record by record and therefore slowly: better write null for a nullable feature.

    Args:
        signature: What to read.
        limits: Bounds on one record.
        id_field: Name of a field with the record's own id, a text or an integer; None for no such field.
        nonce: An integer that no writer of records can guess. One drawn at random if None.

    Raises:
        RequestError: A name of the signature cannot be the name of a JSON field, or `id_field` is a feature.
    """

    def __init__(
        self, signature: Signature, *, limits: Limits, id_field: str | None = None, nonce: int | None = None
    ) -> None:
        self._signature = signature
        self._limits = limits
        self._nonce = draw_nonce() if nonce is None else nonce
        self._separator: Final = b",%d," % self._nonce
        row = row_type(signature, id_field)
        self._parse: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[row | int]).decode  # type: ignore[valid-type]
        self._parse_one: Callable[[bytes], object] = msgspec.json.Decoder(row).decode
        self._read_rows: Final = RowReader(signature)
        self._read_record: Final = JsonRecordReader(signature, limits, id_field)
        self._ids: Callable[[object], str | int | None] | None = attrgetter(ID_FIELD) if id_field else None

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to one row, or reject it with its own reason."""
        screened = screen(records.values, record_bytes=self._limits.record_bytes)
        pieces: list[Rows] = []
        bad: list[int] = []
        rejections = list(screened.rejections)
        for where, rows in split_good(
            lambda rows: self._decode_all(screened.values[rows]), len(screened.values), leaf=_SUSPECTS
        ):
            if rows is not None:
                pieces.append(rows)
                continue
            for index in range(where.start, where.stop):
                made = self._decode_one(screened.values[index])
                if isinstance(made, Rows):
                    pieces.append(made)
                else:
                    bad.append(index)
                    rejections.append(Rejection(int(screened.rows[index]), made))
        return assemble(self._signature, pieces, np.delete(screened.rows, bad), rejections)

    def _decode_all(self, values: Sequence[bytes]) -> Rows | None:
        """Rows of all the values, or None if any of them is not a good record.

        The values are joined by a number that no record can contain, because nobody could know it when the records
        were written. So a number of this value is one of our separators, and nothing else. Each of the n - 1
        separators is then found in an odd place of the parsed list, with 2n - 1 places in all: so none was swallowed
        by a neighbour (`{"a":1,"b":"` before, `"}` after), and between two of them lies exactly one element, parsed
        from exactly the text of one record (`{..},{..}` would be two, white space none). Were this not checked, two
        broken records could merge into a good one, and everything after them would be credited to the wrong record.
        """
        text = b"[" + self._separator.join(values) + b"]"
        if not (_is_utf8(text) and self._is_shallow(text, len(values))):
            return None
        try:
            elements = self._parse(text)
        except (msgspec.DecodeError, RecursionError):
            return None
        if len(elements) != 2 * len(values) - 1 or elements[1::2].count(self._nonce) != len(values) - 1:
            return None
        rows = elements[::2]
        try:
            return Rows(self._read_rows(rows), None if self._ids is None else event_ids(list(map(self._ids, rows))))
        # A bare number in place of a record has no attributes; lengths and ranges are the other reasons.
        except (AttributeError, TypeError, ValueError, OverflowError):
            return None

    def _is_shallow(self, text: bytes, records: int) -> bool:
        """Whether no record is nested too deep. The parser skips unknown fields by recursion, with no limit of ours."""
        if text.find(b"[", 1) < 0 and count_byte(text, b"{") <= records:
            return True
        return deepest(text) - 1 <= self._limits.depth

    def _decode_one(self, value: bytes) -> Rows | InvalidRecordError:
        rows = self._decode_all((value,))
        if rows is not None:
            return rows
        try:
            record = self._read_record(value, refusal=self._refusal)
        except InvalidRecordError as error:
            return error
        return one_row(self._signature, record.values, record.event_id)

    def _refusal(self, value: bytes) -> str:
        """What the parser has against a value, in its own words."""
        try:
            self._parse_one(value)
        except (msgspec.DecodeError, RecursionError) as error:
            return str(error)
        return "it is not one JSON object"


def event_ids(ids: Sequence[str | int | None]) -> Sequence[str | None] | None:
    """Ids as texts; None when no record has one. An empty text is no id."""
    kinds = set(map(type, ids))
    if kinds <= {type(None)}:
        return None
    if kinds == {str} and "" not in ids:
        return ids  # type: ignore[return-value]
    if kinds == {int}:
        return list(map(str, ids))
    return [None if made is None or made == "" else str(made) for made in ids]


def _is_utf8(text: bytes) -> bool:
    """The parser does not look into strings that it skips, and no broken text may pass unseen."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
