"""Avro feature records in Confluent's framing, decoded many at once.

All records of one writer's schema are read side by side, field by field, by NumPy. A record written in a way that
columns cannot follow is read by itself with fastavro, which is the reference for both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.avro_cursor import EVERYWHERE, Cursors, Fault
from millrace.codec.avro_framing import HEADER_BYTES, read_record, schema_id, unknown_schema
from millrace.codec.avro_plan import ID_TARGET, UNWANTED, Plan, Run, Step, compile_plan
from millrace.codec.documents import DocumentReader
from millrace.codec.limits import Limits
from millrace.codec.rows import Rows, gather, one_row
from millrace.codec.schema_source import SchemaSource
from millrace.codec.screening import screen
from millrace.core.columns import Decoded, Rejection
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, NotFinite, Signature

_REASONS: Final[Mapping[Fault, tuple[Reason, str]]] = {
    Fault.TRUNCATED: (Reason.TRUNCATED, "the value ends before it is whole"),
    Fault.MALFORMED: (Reason.MALFORMED, "it is not in Avro's encoding"),
    Fault.INVALID_UTF8: (Reason.INVALID_UTF8, "it is not UTF-8"),
    Fault.MISSING: (Reason.MISSING_FIELD, "it is null"),
    Fault.WRONG_TYPE: (Reason.WRONG_TYPE, "its branch of the union has another type than the feature"),
    Fault.NOT_FINITE: (Reason.NOT_FINITE, "it is not finite, or beyond the range of the feature's type"),
}
_WIDE: Final = {"f": np.dtype(np.float64), "i": np.dtype(np.int64)}


class AvroDecoder:
    """Decodes framed Avro records, one row each. See `millrace.core.columns.Decoder`.

    Args:
        signature: What to read.
        limits: Bounds on one record.
        schemas: Knows the writers' schemas.
        id_field: Name of a field with the record's own id, a text or an integer; None for no such field.
    """

    def __init__(
        self, signature: Signature, *, limits: Limits, schemas: SchemaSource, id_field: str | None = None
    ) -> None:
        self._signature: Final = signature
        self._limits: Final = limits
        self._schemas: Final = schemas
        self._id_field: Final = id_field
        self._read_document: Final = DocumentReader(signature, id_field)
        self._plans: Final[dict[int, Plan | InvalidRecordError]] = {}

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to one row, or reject it with its own reason.

        Raises:
            TransientError: The schema registry cannot be reached; the same call may succeed later.
        """
        screened = screen(records.values, record_bytes=self._limits.record_bytes)
        ids = _schema_ids(screened.values)
        parts: list[tuple[NDArray[np.intp], Rows]] = []
        rejections = list(screened.rejections)
        for found in np.unique(ids).tolist():
            chosen = np.flatnonzero(ids == found)
            rows = screened.rows[chosen]
            values = screened.values if len(chosen) == len(ids) else [screened.values[row] for row in chosen.tolist()]
            if found == _NOT_FRAMED:
                rejections += list(map(Rejection, rows.tolist(), map(_framing_error, values)))
                continue
            plan = self._plan(found)
            if isinstance(plan, InvalidRecordError):
                rejections += [Rejection(row, plan) for row in rows.tolist()]
            else:
                made, refused = self._read(plan, values)
                parts += [(rows[places], part) for places, part in made]
                rejections += [Rejection(int(rows[rejection.row]), rejection.error) for rejection in refused]
        return gather(self._signature, parts, rejections)

    def plans(self) -> Mapping[int, Plan]:
        """The plans that were made so far, by the ids of their schemas."""
        return {schema: plan for schema, plan in self._plans.items() if isinstance(plan, Plan)}

    def _plan(self, found: int) -> Plan | InvalidRecordError:
        if found in self._plans:
            return self._plans[found]
        text = self._schemas.schema(found)
        if text is None:  # it may be registered later
            return unknown_schema(found)
        try:
            plan: Plan | InvalidRecordError = compile_plan(text, self._signature, id_field=self._id_field)
        except InvalidRecordError as error:
            plan = InvalidRecordError(error.reason, f"schema {found}: {error.detail}")
        self._plans[found] = plan
        return plan

    def _read(self, plan: Plan, values: Sequence[bytes]) -> tuple[list[tuple[NDArray[np.intp], Rows]], list[Rejection]]:
        """Rows of the values, with their places among them, and the values that are none."""
        cursors = Cursors(values, skip=HEADER_BYTES, widest=plan.widest)
        fields = _Fields(self._signature, len(values), has_id=plan.has_id)
        with np.errstate(invalid="ignore"):  # damage may be a NaN that signals when it is copied
            for step in plan.steps:
                fields.read(step, cursors)
        cursors.field = UNWANTED
        cursors.fail(EVERYWHERE, cursors.remaining() > 0, Fault.MALFORMED)
        tensors = fields.tensors(cursors)
        good = np.flatnonzero(cursors.faults == Fault.NONE)
        if len(good) == len(values):
            return [(good, Rows(tensors, fields.event_ids(good)))], []
        parts = [(good, Rows(tuple(tensor[good] for tensor in tensors), fields.event_ids(good)))]
        rejections = []
        for row in np.flatnonzero(cursors.faults).tolist():
            made = self._read_one(plan, values[row], Fault(cursors.faults[row]), int(cursors.fields[row]))
            if isinstance(made, Rows):
                parts.append((np.array([row]), made))
            else:
                rejections.append(Rejection(row, made))
        return parts, rejections

    def _read_one(self, plan: Plan, value: bytes, fault: Fault, field: int) -> Rows | InvalidRecordError:
        """What a value is that the columns gave up: a row after all, or the reason why it is none."""
        if fault is not Fault.UNEXPECTED:
            return self._error(fault, field)
        try:
            document = read_record(value[HEADER_BYTES:], plan.schema, plan.wanted)
            record = self._read_document(_with_texts(document, self._signature))
        except InvalidRecordError as error:
            return error
        return one_row(self._signature, record.values, record.event_id)

    def _error(self, fault: Fault, field: int) -> InvalidRecordError:
        reason, words = _REASONS[fault]
        if field == UNWANTED:
            where = "a field that is not in the signature, or after the last field"
        else:
            name = self._id_field if field == ID_TARGET else self._signature.features[field].name
            where = f"field {name!r}"
        return InvalidRecordError(reason, f"{where}: {words}")


class _Fields:
    """The values of all features of n records, each where its tensor wants it, as wide as Avro writes them."""

    def __init__(self, signature: Signature, records: int, *, has_id: bool) -> None:
        self._signature = signature
        self._tensors: list[NDArray[Any]] = []
        self._places: dict[int, NDArray[Any]] = {}
        index = {feature.name: place for place, feature in enumerate(signature.features)}
        for spec in signature.inputs:
            first = signature.feature(spec.features[0])
            width = first.elements if first.shape else len(spec.features)
            dtype = first.dtype.numpy
            tensor = np.full((records, width), _blank(first.dtype), _WIDE.get(dtype.kind, dtype))
            self._tensors.append(tensor)
            for column, name in enumerate(spec.features):
                self._places[index[name]] = tensor if first.shape else tensor[:, column]
        if has_id:
            self._places[ID_TARGET] = np.full(records, None, np.object_)

    def read(self, step: Step | Run, cursors: Cursors) -> None:
        """Read one step for every record."""
        if isinstance(step, Step):
            cursors.field = step.target
            step.node.read(cursors, EVERYWHERE, self._places.get(step.target))
            return
        cursors.field = step.steps[0][1]
        found = cursors.fixed(EVERYWHERE, step.layout.itemsize).view(step.layout)[:, 0]
        for place, (node, target) in enumerate(step.steps):
            cursors.field = target
            if target != UNWANTED:
                node.keep(found[str(place)], cursors, EVERYWHERE, self._places[target])

    def tensors(self, cursors: Cursors) -> tuple[NDArray[np.generic], ...]:
        """The input tensors in the signature's types; a record with a number beyond its type fails."""
        made: list[NDArray[np.generic]] = []
        for spec, wide in zip(self._signature.inputs, self._tensors, strict=True):
            first = self._signature.feature(spec.features[0])
            narrow, beyond = self._narrow(wide, first.dtype)
            if beyond is not None:
                for place, name in enumerate(spec.features):
                    cursors.field = self._signature.features.index(self._signature.feature(name))
                    columns = beyond if first.shape else beyond[:, place : place + 1]
                    cursors.fail(EVERYWHERE, np.asarray(columns.any(axis=1)), Fault.NOT_FINITE)
            made.append(narrow.reshape(len(narrow), *(first.shape or (len(spec.features),))))
        return tuple(made)

    def event_ids(self, rows: NDArray[np.intp]) -> Sequence[str | None] | None:
        """Ids of these records; None when none has one."""
        column = self._places.get(ID_TARGET)
        if column is None:
            return None
        ids = column[rows]
        ids[ids == ""] = None
        return ids.tolist() if any(ids) else None

    def _narrow(self, wide: NDArray[Any], dtype: DType) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """The values in their type, and which of them are beyond it, None for none."""
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN like others
            narrow = wide.astype(dtype.numpy, copy=False)
        if narrow is wide or (dtype is DType.FLOAT32 and self._signature.not_finite is NotFinite.ALLOW):
            return narrow, None
        beyond = np.isinf(narrow) if dtype is DType.FLOAT32 else narrow != wide
        return narrow, beyond if beyond.any() else None


def _blank(dtype: DType) -> Any:  # noqa: ANN401 - one of NumPy's scalars
    """What is where no value is: NaN for a float, which null is read as."""
    if dtype is DType.STRING:
        return None
    return np.nan if dtype in {DType.FLOAT32, DType.FLOAT64} else 0


_NOT_FRAMED: Final = -1


def _schema_ids(values: Sequence[bytes]) -> NDArray[np.int64]:
    """The schema id of each value; -1 for one that is not framed."""
    data = np.frombuffer(b"".join((*values, bytes(HEADER_BYTES))), np.uint8)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    starts = np.cumsum(lengths) - lengths
    framed = (data[starts] == 0) & (lengths >= HEADER_BYTES)
    ids = sum(data[starts + 1 + place].astype(np.int64) << (24 - 8 * place) for place in range(4))
    return np.where(framed, ids, _NOT_FRAMED)


def _framing_error(value: bytes) -> InvalidRecordError:
    try:
        schema_id(value)
    except InvalidRecordError as error:
        return error
    raise AssertionError("the value is framed")


def _with_texts(document: Mapping[str, Any], signature: Signature) -> Mapping[str, Any]:
    """The document with bytes as texts where the signature wants texts."""
    made = dict(document)
    for feature in signature.features:
        found = made.get(feature.name)
        if feature.dtype is DType.STRING and isinstance(found, bytes):
            try:
                made[feature.name] = found.decode()
            except UnicodeDecodeError:
                raise InvalidRecordError(Reason.INVALID_UTF8, f"field {feature.name!r}: it is not UTF-8") from None
    return made
