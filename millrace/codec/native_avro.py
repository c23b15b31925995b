"""Avro feature records, decoded by the native module where they are plainly good, and in Python where they are not.

Python finds the writers' schemas, resolves them and reads the first batch of each; the native module (`native/avro`)
gets the plans that were made of them. Records of schemas without a plan, damaged ones, and those with parts that are
not read there, stay Python's.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final, TypeAlias

from millrace.codec.avro import AvroDecoder
from millrace.codec.avro_nodes import (
    Array,
    Boolean,
    Collection,
    Fixed,
    Integer,
    IntegerText,
    Node,
    Nothing,
    Number,
    Record,
    Symbol,
    Text,
    Union,
)
from millrace.codec.avro_plan import ID_TARGET, UNWANTED, Plan, Step
from millrace.codec.limits import Limits
from millrace.codec.native import MODULE, NativeReader, decode, input_sizes, is_read_natively, places
from millrace.codec.schema_source import SchemaSource
from millrace.core.columns import Decoded, Decoder
from millrace.core.records import RecordBatch
from millrace.core.signature import NotFinite, Signature

_Part: TypeAlias = "tuple[str, int, list[_Part]]"
_Place: TypeAlias = tuple[int, int, int]
_FOREIGN: Final[_Part] = ("foreign", 0, [])

_Program: TypeAlias = tuple[list[tuple[_Part, bool, _Place | None]], list[_Place]]


def native_avro_decoder(
    signature: Signature, *, limits: Limits, schemas: SchemaSource, id_field: str | None = None
) -> Decoder:
    """A decoder over the native module, which must be built; texts as features are read in Python all the same."""
    careful = AvroDecoder(signature, limits=limits, schemas=schemas, id_field=id_field)
    return NativeAvroDecoder(signature, careful, limits=limits) if is_read_natively(signature) else careful


class NativeAvroDecoder:
    """Decodes framed Avro records, one row each, without Python per record. See `millrace.core.columns.Decoder`.

    Args:
        signature: What to read; without texts.
        careful: Decodes the records that the native module leaves, and finds the plans.
        limits: Bounds on one record.
    """

    def __init__(self, signature: Signature, careful: AvroDecoder, *, limits: Limits) -> None:
        self._signature: Final = signature
        self._careful: Final = careful
        self._record_bytes: Final = limits.record_bytes
        self._known = 0
        self._reader = self._compiled({})

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to one row, or reject it with its own reason.

        Raises:
            TransientError: The schema registry cannot be reached; the same call may succeed later.
        """
        decoded = decode(self._signature, self._reader, self._careful, records)
        plans = self._careful.plans()
        if len(plans) > self._known:
            self._reader, self._known = self._compiled(plans), len(plans)
        return decoded

    def _compiled(self, plans: Mapping[int, Plan]) -> NativeReader:
        reader: NativeReader = import_module(MODULE).AvroReader(
            input_sizes(self._signature),
            {schema: _program(plan, self._signature) for schema, plan in plans.items()},
            record_bytes=self._record_bytes,
            finite=self._signature.not_finite is NotFinite.REJECT,
        )
        return reader


def _program(plan: Plan, signature: Signature) -> _Program:
    of_feature = {feature.name: (number, place, feature.elements) for feature, number, place in places(signature)}
    of_target = [of_feature[feature.name] for feature in signature.features]
    steps: list[tuple[_Part, bool, _Place | None]] = []
    read: set[int] = set()
    for node, target in _unpacked(plan):
        is_again = target in read and target != UNWANTED  # a schema may have two fields of one name
        place = None if target in {ID_TARGET, UNWANTED} else of_target[target]
        steps.append((_FOREIGN if is_again else _part(node), target == ID_TARGET, place))
        read.add(target)
    return steps, [place for target, place in enumerate(of_target) if target not in read]


def _unpacked(plan: Plan) -> list[tuple[Node, int]]:
    """Every field, with its target."""
    fields: list[tuple[Node, int]] = []
    for step in plan.steps:
        fields += [(step.node, step.target)] if isinstance(step, Step) else step.steps
    return fields


def _part(node: Node) -> _Part:  # noqa: PLR0911 - one per part
    """A part of a schema, its size and its own parts, as the native module takes them."""
    match node:
        case Nothing():
            return "null", 0, []
        case Number(dtype):
            return "float" if dtype.itemsize == 4 else "double", 0, []
        case Integer() | IntegerText():
            return "integer", 0, []
        case Boolean():
            return "boolean", 0, []
        case Text():
            return "text", 0, []
        case Fixed(size):
            return "fixed", size, []
        case Symbol(symbols):
            return "symbol", len(symbols), []
        case Array(item, size):
            return "array", size, [_part(item)]
        case Union(branches):
            return "union", 0, list(map(_part, branches))
        case Record(fields):
            return "record", 0, list(map(_part, fields))
        case Collection():
            return "empty", 0, []
    return _FOREIGN
