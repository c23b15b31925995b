"""What a writer's Arrow IPC records have in common: all bytes before the columns, but for a few numbers.

A writer that writes one record batch per record begins each with the same schema and the same FlatBuffers tables.
What differs is how long the body is, how many rows there are, and length, nulls and places of each column and buffer.
Records can be read without reading FlatBuffers where it is known where these numbers stand, and nothing else differs.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.types as pt
from pyarrow import ipc

from millrace.codec.arrow_columns import is_list
from millrace.codec.arrow_messages import FILE_MAGIC, RECORDS, SCHEMA, Table, messages
from millrace.core.errors import InvalidRecordError
from millrace.core.signature import Feature, Signature

Vector: TypeAlias = tuple[int, int]
"""Where the first element stands, and how many there are."""

_PAIR: Final = 16  # bytes of a field node (length, nulls) and of a buffer (offset, length)
_VERSION, _KIND, _HEADER, _BODY, _METADATA = range(5)  # fields of a message
_ROWS, _NODES, _BUFFERS, _COMPRESSION, _VARIADIC = range(5)  # fields of a record batch
_LEAVES: Final = frozenset(
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double", "bool"]
)
_IDS: Final = frozenset(["int32", "int64", "string", "large_string"])


@dataclass(frozen=True, slots=True)
class Spots:
    """Where in a record the numbers stand that differ.

    Attributes:
        body: The length of the batch's body.
        rows: The number of rows.
        nodes: Length and nulls of each field node.
        buffers: Offset and length of each buffer.
    """

    body: int
    rows: int
    nodes: Vector
    buffers: Vector


@dataclass(frozen=True, slots=True)
class Column:
    """A column among the nodes and buffers of its batch.

    Attributes:
        node: Its first field node.
        buffer: Its first buffer.
        kind: Its type.
    """

    node: int
    buffer: int
    kind: pa.DataType


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records of a writer are read.

    Attributes:
        head: A record up to the batch's body, without what a file begins with, and with zeros for what differs.
        spots: Where that is.
        columns: The columns that are wanted, by name.
    """

    head: bytes
    spots: Spots
    columns: Mapping[str, Column]


def read_layout(value: bytes, signature: Signature, id_field: str | None) -> Layout | None:
    """The layout of a record that was decoded.

    None where its like is not read by layout: several batches, compression, dictionaries, or wanted columns of types
    that are neither numbers, truths, lists of such, nor, as ids, texts.
    """
    start = len(FILE_MAGIC) if value.startswith(FILE_MAGIC) else 0
    try:
        parts = list(islice(messages(value, start), 3))
        if len(parts) != 2:
            return None
        (schema, _), (metadata, body) = parts
        spots = _spots(schema, metadata, body.start - len(metadata) - start)
    except (InvalidRecordError, struct.error):
        return None
    with ipc.open_stream(pa.py_buffer(value).slice(start)) as reader:
        columns, nodes, buffers = _columns(reader.schema)
    if spots is None or (nodes, buffers) != (spots.nodes[1], spots.buffers[1]):
        return None
    wanted = {name: column for name, column in columns.items() if name == id_field}
    for feature in signature.features:
        if feature.name in columns:
            wanted[feature.name] = columns[feature.name]
            if str(_leaf(columns[feature.name].kind)) not in _LEAVES:
                return None
    if id_field in wanted and str(wanted[id_field].kind) not in _IDS:
        return None
    return Layout(_blanked(value[start : body.start], spots), spots, wanted)


def list_levels(column: Column, feature: Feature) -> tuple[list[tuple[pa.DataType, int]], str]:
    """The column's levels of lists with the elements that each list must have, and the type of the innermost ones."""
    kinds = list(_levels(column.kind))
    sizes = feature.shape if len(kinds) == len(feature.shape) else (feature.elements,)
    return list(zip(kinds, sizes, strict=True)), str(_leaf(column.kind))


def _spots(schema: bytes, metadata: bytes, at: int) -> Spots | None:
    """The spots of a batch whose metadata stands at this place; None for one that is out of the ordinary."""
    declared, message = Table.root(schema), Table.root(metadata)
    kinds = declared.number(_KIND, "<B"), message.number(_KIND, "<B")
    about, batch = declared.table(_HEADER), message.table(_HEADER)
    if kinds != (SCHEMA, RECORDS) or about is None or batch is None or about.number(0, "<h"):  # big-endian is converted
        return None
    body, rows = message.place(_BODY), batch.place(_ROWS)
    extras = message.place(_METADATA), batch.place(_COMPRESSION), batch.place(_VARIADIC)
    if body is None or rows is None or extras != (None, None, None):
        return None
    nodes, buffers = batch.vector(_NODES), batch.vector(_BUFFERS)
    holes = _holes(Spots(body, rows, nodes, buffers))
    others = [
        (0, 4),
        *_skeleton(message, {_VERSION: 2, _KIND: 1, _HEADER: 4}),
        *_skeleton(batch, {_NODES: 4, _BUFFERS: 4}),
    ]
    others += [(start - 4, 4) for start, _ in (nodes, buffers)]
    if any(_meet(hole, other) for number, hole in enumerate(holes) for other in (*holes[:number], *others)):
        return None  # nobody writes so; a number could change what the rest means
    return Spots(at + body, at + rows, (at + nodes[0], nodes[1]), (at + buffers[0], buffers[1]))


def _blanked(head: bytes, spots: Spots) -> bytes:
    blanked = bytearray(head)
    for start, size in _holes(spots):
        blanked[start : start + size] = bytes(size)
    return bytes(blanked)


def _holes(spots: Spots) -> list[tuple[int, int]]:
    """Places and sizes of what differs."""
    vectors = ((start, count * _PAIR) for start, count in (spots.nodes, spots.buffers))
    return [(spots.body, 8), (spots.rows, 8), *vectors]


def _skeleton(table: Table, sizes: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Places and sizes of the bytes that say what is where: the table's own, and its fields of these sizes."""
    yield table.vtable()
    yield table.at, 4
    for field, size in sizes.items():
        place = table.place(field)
        if place is not None:
            yield place, size


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def _columns(schema: pa.Schema) -> tuple[dict[str, Column], int, int]:
    """Each column, and how many nodes and buffers there are; less than there are where a type is not known here."""
    columns: dict[str, Column] = {}
    node = buffer = 0
    for field in schema:
        extent = _extent(field.type)
        if extent is None:
            return {}, 0, 0
        columns[field.name] = Column(node, buffer, field.type)
        node, buffer = node + extent[0], buffer + extent[1]
    return columns, node, buffer


def _extent(kind: pa.DataType) -> tuple[int, int] | None:
    """Nodes and buffers of a column of this type; None for a type that is not known here."""
    if pt.is_null(kind):
        return 1, 0
    if pt.is_primitive(kind) or pt.is_decimal(kind) or pt.is_fixed_size_binary(kind):
        return 1, 2
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_binary(kind) or pt.is_large_binary(kind):
        return 1, 3
    if not (is_list(kind) or pt.is_struct(kind)):
        return None
    inner = [_extent(kind.field(number).type) for number in range(kind.num_fields)]
    if None in inner:
        return None
    nodes, buffers = map(sum, zip(*(extent for extent in inner if extent), strict=True))
    own = 1 if pt.is_struct(kind) or pt.is_fixed_size_list(kind) else 2
    return 1 + nodes, own + buffers


def _levels(kind: pa.DataType) -> Iterator[pa.DataType]:
    while is_list(kind):
        yield kind
        kind = kind.value_type


def _leaf(kind: pa.DataType) -> pa.DataType:
    return _leaf(kind.value_type) if is_list(kind) else kind
