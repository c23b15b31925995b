"""What an Arrow IPC stream claims to hold, found out before anything of it is unpacked.

A few compressed kilobytes can claim gigabytes. The sizes are written in the stream: each message's metadata (a
FlatBuffers table, see `Message.fbs` in Apache Arrow's format folder) lists its buffers, and each compressed buffer
begins with its size once unpacked, which the reader of Arrow allocates and holds it to.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from millrace.core.errors import InvalidRecordError, Reason

FILE_MAGIC: Final = b"ARROW1\x00\x00"
"""What an Arrow file begins with; a stream follows."""

_CONTINUATION: Final = 0xFFFFFFFF
_PREFIX: Final = struct.Struct("<II")
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3
"""Types of a message's header."""
_BUFFER: Final = struct.Struct("<qq")
_STORED: Final = -1  # in place of the unpacked size: this buffer is not compressed


@dataclass(frozen=True, slots=True)
class Claim:
    """What a stream claims.

    Attributes:
        rows: Rows of all record batches.
        expanded_bytes: Bytes of all buffers once unpacked.
        end: Where the stream ends in the value.
    """

    rows: int
    expanded_bytes: int
    end: int


def read_claim(value: bytes, start: int) -> Claim:
    """What the stream that begins at `start` claims. Takes time for each buffer's description, not for its content.

    Raises:
        InvalidRecordError: It is cut (`truncated`; the end of a stream must be marked) or no stream (`malformed`).
    """
    rows = expanded = 0
    end = start
    try:
        for metadata, body in messages(value, start):
            kind, message_rows, message_bytes = _describe(metadata, value, body)
            rows += message_rows if kind == RECORDS else 0
            expanded += message_bytes
            end = body.stop
    except (struct.error, OverflowError) as error:
        raise InvalidRecordError(Reason.MALFORMED, f"a message's metadata is broken: {error}") from None
    return Claim(rows, expanded, end + _PREFIX.size)


def messages(value: bytes, start: int) -> Iterator[tuple[bytes, range]]:
    """Metadata of each message, and where its body lies in the value, up to the mark of the stream's end.

    Raises:
        InvalidRecordError: As for `read_claim`.
        struct.error: A message's metadata is broken.
    """
    at = start
    while True:
        if at + _PREFIX.size > len(value):
            raise _truncated()
        mark, size = _PREFIX.unpack_from(value, at)
        if mark != _CONTINUATION:
            raise InvalidRecordError(Reason.MALFORMED, f"no message begins at byte {at}")
        if not size:
            return
        body_at = at + _PREFIX.size + size
        if body_at > len(value):
            raise _truncated()
        metadata = value[at + _PREFIX.size : body_at]
        body_size = Table.root(metadata).number(3, "<q")
        if body_size < 0:
            raise InvalidRecordError(Reason.MALFORMED, f"the message at byte {at} has a body of {body_size} bytes")
        at = body_at + body_size
        if at > len(value):
            raise _truncated()
        yield metadata, range(body_at, at)


def _describe(metadata: bytes, value: bytes, body: range) -> tuple[int, int, int]:
    """Type, rows and unpacked bytes of a message."""
    message = Table.root(metadata)
    kind = message.number(1, "<B")
    header = message.table(2)
    if kind == DICTIONARY and header is not None:
        header = header.table(1)
    if kind not in {DICTIONARY, RECORDS} or header is None:
        return kind, 0, 0
    rows = header.number(0, "<q")
    if rows < 0:
        raise InvalidRecordError(Reason.MALFORMED, f"a record batch has {rows} rows")
    is_compressed = header.table(3) is not None
    sizes = (_unpacked(value, body, *buffer) if is_compressed else buffer[1] for buffer in header.structs(2, _BUFFER))
    return kind, rows, sum(sizes)


def _unpacked(value: bytes, body: range, offset: int, length: int) -> int:
    if length == 0:
        return 0
    if not 0 <= offset <= offset + 8 <= len(body):
        raise InvalidRecordError(Reason.MALFORMED, "a buffer lies outside its message")
    (size,) = struct.unpack_from("<q", value, body.start + offset)
    if size < _STORED:
        raise InvalidRecordError(Reason.MALFORMED, f"a buffer claims {size} bytes")
    return length - 8 if size == _STORED else int(size)


@dataclass(frozen=True, slots=True)
class Table:
    """A FlatBuffers table: fields by number, each absent or at an offset that the table's vtable gives.

    Every read is checked against the end of the data: struct.error for whatever lies outside.
    """

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """The outermost table of a message's metadata."""
        return cls(data, _unpack(data, "<I", 0))

    def number(self, field: int, form: str) -> int:
        """A number; 0, its default, when it is absent."""
        place = self.place(field)
        return 0 if place is None else _unpack(self.data, form, place)

    def table(self, field: int) -> "Table | None":
        """A table within; None when it is absent."""
        place = self.place(field)
        return None if place is None else Table(self.data, place + _unpack(self.data, "<I", place))

    def structs(self, field: int, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
        """The structs of a vector, none when it is absent."""
        start, count = self.vector(field)
        return layout.iter_unpack(self.data[start : start + count * layout.size])

    def vector(self, field: int) -> tuple[int, int]:
        """Where the first element of a vector stands, and how many there are."""
        place = self.place(field)
        if place is None:
            return 0, 0
        vector = place + _unpack(self.data, "<I", place)
        return vector + 4, _unpack(self.data, "<I", vector)

    def place(self, field: int) -> int | None:
        """Where a field stands; None when it is absent."""
        start, size = self.vtable()
        if 4 + 2 * field + 2 > size:
            return None
        offset = _unpack(self.data, "<H", start + 4 + 2 * field)
        return self.at + offset if offset else None

    def vtable(self) -> tuple[int, int]:
        """Where the table of its fields' places stands, and how many bytes it has."""
        start = self.at - _unpack(self.data, "<i", self.at)
        return start, _unpack(self.data, "<H", start)


def _unpack(data: bytes, form: str, at: int) -> int:
    if at < 0:  # struct would count from the end
        raise struct.error("an offset points before the metadata")
    return int(struct.unpack_from(form, data, at)[0])


def _truncated() -> InvalidRecordError:
    return InvalidRecordError(Reason.TRUNCATED, "the value ends before the stream's end is marked")
