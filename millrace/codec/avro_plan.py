"""From a writer's schema and a signature to the steps that read many records at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import fastavro
import numpy as np
from fastavro.schema import SchemaParseException

from millrace.codec.avro_framing import BROKEN
from millrace.codec.avro_nodes import (
    Array,
    Boolean,
    Collection,
    Fixed,
    Integer,
    IntegerText,
    Missing,
    Node,
    Nothing,
    Number,
    Record,
    Symbol,
    Text,
    Union,
    Unwanted,
)
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.signature import DType, ExtraFields, Feature, NotFinite, Signature

ID_TARGET: Final = -1
"""The target of the field with the record's own id."""
UNWANTED: Final = -2
"""The target of a field that nobody wants."""

_MOST_NODES: Final = 10_000  # named types can repeat each other into exponential size
_FLOATS: Final = frozenset({DType.FLOAT32, DType.FLOAT64})
_INTEGERS: Final = frozenset({DType.INT32, DType.INT64})
_NUMBERS: Final[Mapping[object, np.dtype[np.floating]]] = {"float": np.dtype("<f4"), "double": np.dtype("<f8")}


@dataclass(frozen=True, slots=True)
class Step:
    """Reads one field of every record.

    Attributes:
        node: What the field is.
        target: Index of the feature, `ID_TARGET` or `UNWANTED`.
    """

    node: Node
    target: int


@dataclass(frozen=True, slots=True)
class Run:
    """Reads neighbouring numbers of fixed size in one go.

    Attributes:
        layout: Their types, packed.
        steps: What each of them is, in the order of the layout's fields.
    """

    layout: np.dtype[np.void]
    steps: Sequence[tuple[Number, int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How records of one writer's schema are read.

    Attributes:
        steps: In the order in which the writer wrote.
        widest: Most bytes that one step reads in one go.
        has_id: Whether there is a field with the record's own id.
        schema: The writer's schema as fastavro wants it.
        wanted: The same with only the fields that are wanted; None if it cannot be cut.
    """

    steps: Sequence[Step | Run]
    widest: int
    has_id: bool
    schema: Any
    wanted: Any


def compile_plan(text: str, signature: Signature, *, id_field: str | None) -> Plan:
    """The plan for records written with this schema.

    Fields are found by name. A number may be read as a wider one, and as a float of the signature's width if it is in
    its range; an integer only from integers; a text from a string, an enum, or bytes in UTF-8. The schema need not have
    a nullable feature.

    Raises:
        InvalidRecordError: Records of this schema can never be read as the signature: reason `schema_mismatch`, or
            `extra_field` where the signature forbids them.
    """
    schema, names = _parse(text)
    compiler = _Compiler(signature, id_field, names)
    steps = compiler.steps(schema)
    wanted = None
    fields = [field for field, step in zip(schema["fields"], steps, strict=True) if step.target != UNWANTED]
    try:
        wanted = fastavro.parse_schema({**schema, "fields": fields}, named_schemas={})
    except (SchemaParseException, *BROKEN):
        wanted = None  # a wanted field has a type that an unwanted one defines
    packed = list(_pack(steps))
    sizes = [step.layout.itemsize for step in packed if isinstance(step, Run)]
    arrays = [feature.elements * 8 for feature in signature.features]
    has_id = any(step.target == ID_TARGET for step in steps)
    return Plan(packed, max(8, *sizes, *arrays), has_id, schema, wanted)


def _parse(text: str) -> tuple[Any, Mapping[str, Any]]:
    names: dict[str, Any] = {}
    try:
        schema = fastavro.parse_schema(_without_logical_types(json.loads(text)), named_schemas=names)
    except (SchemaParseException, *BROKEN) as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, f"the schema cannot be parsed: {error}") from None
    if not isinstance(schema, dict) or schema["type"] != "record":
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "the schema is not that of a record")
    return schema, names


def _without_logical_types(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Dates and decimals are read as the numbers and bytes that they are."""
    match schema:
        case dict():
            return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
        case list():
            return [_without_logical_types(value) for value in schema]
        case _:
            return schema


class _Compiler:
    def __init__(self, signature: Signature, id_field: str | None, names: Mapping[str, Any]) -> None:
        self._signature = signature
        self._id_field = id_field
        self._names = names
        self._finite = signature.not_finite is NotFinite.REJECT
        self._nodes = 0

    def steps(self, schema: Any) -> list[Step]:  # noqa: ANN401 - JSON
        targets = {feature.name: index for index, feature in enumerate(self._signature.features)}
        if self._id_field is not None:
            targets[self._id_field] = ID_TARGET
        found = [field["name"] for field in schema["fields"]]
        for feature in self._signature.features:
            if feature.name not in found and not feature.nullable:
                raise _mismatch(f"the schema has no field {feature.name!r}")
        if self._signature.extra_fields is ExtraFields.REJECT and (extra := [n for n in found if n not in targets]):
            raise InvalidRecordError(
                Reason.EXTRA_FIELD, f"the schema's field {extra[0]!r} is not in the model's signature"
            )
        return [self._step(field, targets.get(field["name"], UNWANTED)) for field in schema["fields"]]

    def _step(self, field: Any, target: int) -> Step:  # noqa: ANN401 - JSON
        if target == UNWANTED:
            return Step(self._pass(field["type"], ()), target)
        found = self._id(field["type"]) if target == ID_TARGET else self._feature(field["type"], target)
        return Step(found, target)

    def _feature(self, schema: Any, target: int) -> Node:  # noqa: ANN401 - JSON
        feature = self._signature.features[target]
        branches = schema if isinstance(schema, list) else [schema]
        nodes = [self._branch(branch, feature) for branch in branches]
        if not any(isinstance(node, _USABLE) for node in nodes):
            raise _mismatch(f"the schema's field {feature.name!r} cannot be read as {_words(feature)}")
        return Union(nodes) if isinstance(schema, list) else nodes[0]

    def _branch(self, schema: Any, feature: Feature) -> Node:  # noqa: ANN401 - JSON
        found = self._resolve(schema)
        if found["type"] == "null":
            return Nothing() if feature.nullable else Missing()
        node = self._tensor(found, feature) if feature.shape else self._scalar(found, feature.dtype)
        return node or Unwanted(self._pass(schema, ()))

    def _tensor(self, schema: Any, feature: Feature) -> Node | None:  # noqa: ANN401 - JSON
        if schema["type"] != "array":
            return None
        items = self._resolve(schema["items"])
        if isinstance(items["type"], list):
            return Collection()
        shape = feature.shape if items["type"] == "array" else (feature.elements,)
        return self._array(schema, shape, feature.dtype)

    def _array(self, schema: Any, shape: tuple[int, ...], dtype: DType) -> Node | None:  # noqa: ANN401 - JSON
        items = self._resolve(schema["items"])
        if len(shape) == 1:
            item = self._scalar(items, dtype)
        else:
            item = self._array(items, shape[1:], dtype) if items["type"] == "array" else None
        return None if item is None else Array(item, shape[0], prod(shape[1:]))

    def _scalar(self, schema: Any, dtype: DType) -> Node | None:  # noqa: ANN401 - JSON
        match schema["type"]:
            case "int" | "long" if dtype in _FLOATS or dtype in _INTEGERS:
                return Integer()
            case "float" | "double" as kind if dtype in _FLOATS:
                return Number(_NUMBERS[kind], finite=self._finite)
            case "boolean" if dtype is DType.BOOL:
                return Boolean()
            case "string" | "bytes" if dtype is DType.STRING:
                return Text()
            case "enum" if dtype is DType.STRING:
                return Symbol(np.array(schema["symbols"], np.object_))
        return None

    def _id(self, schema: Any) -> Node:  # noqa: ANN401 - JSON
        if isinstance(schema, list):
            return Union([self._id(branch) for branch in schema])
        match self._resolve(schema)["type"]:
            case "null":
                return Nothing()
            case "string":
                return Text()
            case "int" | "long":
                return IntegerText()
        raise _mismatch(f"the schema's id field {self._id_field!r} is neither a text nor an integer")

    def _pass(self, schema: Any, around: tuple[str, ...]) -> Node:  # noqa: ANN401, PLR0911, PLR0912 - one per Avro type
        """A node for what nobody wants; `around` are the names of the records that it is in."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _mismatch(f"the schema has more than {_MOST_NODES} parts")
        if isinstance(schema, list):
            return Union([self._pass(branch, around) for branch in schema])
        found = self._resolve(schema)
        match found["type"]:
            case "null":
                return Nothing()
            case "int" | "long":
                return Integer()
            case "float" | "double" as kind:
                return Number(_NUMBERS[kind], finite=False)
            case "boolean":
                return Boolean()
            case "string" | "bytes":
                return Text()
            case "fixed":
                return Fixed(found["size"])
            case "enum":
                return Symbol(np.array(found["symbols"], np.object_))
            case "array":
                self._check_items(found["items"], around)
                return Collection()
            case "map":
                self._pass(found["values"], around)
                return Collection()
            case _:
                if found["name"] in around:
                    # Whoever reads it must recurse as deep as a hostile record likes.
                    raise _mismatch(f"the schema's record {found['name']!r} contains itself")
                return Record([self._pass(field["type"], (*around, found["name"])) for field in found["fields"]])

    def _check_items(self, items: Any, around: tuple[str, ...]) -> None:  # noqa: ANN401 - JSON
        if not _least_bytes(self._pass(items, around)):
            # A few bytes could then claim billions of them.
            raise _mismatch("the schema has an array whose items take no bytes")

    def _resolve(self, schema: Any) -> Any:  # noqa: ANN401 - JSON
        """The definition of a type, which has at least the key `type`; a union has it as a list."""
        if isinstance(schema, str):
            return self._names.get(schema, {"type": schema})
        return {"type": schema} if isinstance(schema, list) else schema


_USABLE: Final = (Integer, Number, Boolean, Text, Symbol, Array, Collection)


def _least_bytes(node: Node) -> int:
    match node:
        case Nothing():
            return 0
        case Fixed(size):
            return size
        case Record(fields):
            return sum(map(_least_bytes, fields))
        case _:
            return 1


def _pack(steps: Sequence[Step]) -> Iterator[Step | Run]:
    """The same steps, neighbouring numbers together."""
    run: list[tuple[Number, int]] = []
    for step in steps:
        if isinstance(step.node, Number):
            run.append((step.node, step.target))
            continue
        yield from _packed(run)
        run = []
        yield step
    yield from _packed(run)


def _packed(run: list[tuple[Number, int]]) -> Iterator[Run]:
    if run:
        yield Run(np.dtype([(str(place), node.dtype) for place, (node, _) in enumerate(run)]), run)


def _words(feature: Feature) -> str:
    return f"{feature.dtype} of shape {feature.shape}" if feature.shape else str(feature.dtype)


def _mismatch(detail: str) -> InvalidRecordError:
    return InvalidRecordError(Reason.SCHEMA_MISMATCH, detail)
