"""JSON by the native module: records are decoded there where they are plainly good, and predictions are written there.

Of records, the native module (`native/json`) reads strict JSON of exactly the signature's types, and leaves every other
one. What becomes of that is decided by `JsonDecoder` alone: each policy and each reason is written once. So the two
decoders agree as long as the native one takes nothing that the other would refuse, or read otherwise.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.rows import Rows, assemble, gather, input_shapes
from millrace.codec.templates import Choices, Column, JsonTexts, Template, rows_of
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, ExtraFields, Signature

_MODULE: Final = "millrace_native"


def native_json_decoder(signature: Signature, *, limits: Limits, id_field: str | None = None) -> Decoder:
    """A decoder over the native module, which must be built; texts as features are read in Python all the same.

    Raises:
        RequestError: As for `JsonDecoder`.
    """
    careful = JsonDecoder(signature, limits=limits, id_field=id_field)
    if any(feature.dtype is DType.STRING for feature in signature.features):
        return careful
    return NativeJsonDecoder(signature, careful, limits=limits, id_field=id_field)


class NativeJsonDecoder:
    """Decodes JSON objects, one row each, without Python per record. See `millrace.core.columns.Decoder`.

    Args:
        signature: What to read; without texts.
        careful: Decodes the records that the native module leaves.
        limits: Bounds on one record.
        id_field: Name of a field with the record's own id; None for no such field.
    """

    def __init__(self, signature: Signature, careful: Decoder, *, limits: Limits, id_field: str | None) -> None:
        self._signature: Final = signature
        self._careful: Final = careful
        self._shapes: Final = input_shapes(signature)
        self._reader: Any = import_module(_MODULE).JsonReader(
            [(dtype.value, int(np.prod(shape))) for shape, dtype in self._shapes],
            _places(signature),
            id_field=id_field,
            refuse_others=signature.extra_fields is ExtraFields.REJECT,
            record_bytes=limits.record_bytes,
            depth=limits.depth,
        )

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to one row, or reject it with its own reason."""
        tensors = [np.empty((len(records), *shape), dtype.numpy) for shape, dtype in self._shapes]
        found = self._reader.read(records.values, [tensor.reshape(-1).view(np.uint8) for tensor in tensors])
        taken, left = (np.frombuffer(rows, np.uint32).astype(np.intp) for rows in found[:2])
        rows = Rows(tuple(tensor[: len(taken)] for tensor in tensors), found[2])
        if not len(left):
            return assemble(self._signature, [rows], taken, ())
        rest = self._careful.decode(records.take(left))
        others = Rows(rest.columns.tensors, rest.event_ids)
        rejections = [Rejection(int(left[rejection.row]), rejection.error) for rejection in rest.rejections]
        parts: list[tuple[NDArray[np.intp], Rows]] = [(taken, rows), (left[rest.source], others)]
        return gather(self._signature, [part for part in parts if len(part[0])] or parts[:1], rejections)


def native_fill(template: Template, columns: Sequence[Column]) -> Sequence[bytes]:
    """Writes the text of each row as `templates.fill` does, without Python per row and into one buffer."""
    texts: Sequence[bytes] = import_module(_MODULE).fill(
        list(template.pieces), list(map(_plain, columns)), rows_of(columns[0])
    )
    return texts


def _plain(column: Column) -> object:
    """A column as the native module takes it."""
    match column:
        case Choices(texts, of_row):
            return list(texts), of_row.astype(np.int64, copy=False)
        case JsonTexts(texts):
            return list(texts)
    return column


def _places(signature: Signature) -> list[tuple[str, int, int, tuple[int, ...], bool]]:
    """For each feature: its name, its input, its place in a row of that, its shape, and whether it may be absent."""
    features = (
        (signature.feature(name), number, place)
        for number, spec in enumerate(signature.inputs)
        for place, name in enumerate(spec.features)
    )
    return [(feature.name, number, place, feature.shape, feature.nullable) for feature, number, place in features]
