"""The typed rows of JSON records, compiled from a signature, and how they become tensors."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, compress, repeat
from operator import attrgetter, is_not
from types import GenericAlias
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.core.signature import DType, ExtraFields, Feature, NotFinite, Signature

ID_FIELD: Final = "event_id"
"""The attribute of a typed row that holds the record's own id."""

_SCALARS: Final[Mapping[DType, type]] = {
    DType.FLOAT32: float,
    DType.FLOAT64: float,
    DType.INT32: int,
    DType.INT64: int,
    DType.BOOL: bool,
    DType.STRING: str,
}

Tensor: TypeAlias = NDArray[np.generic]


def row_type(signature: Signature, id_field: str | None) -> type[msgspec.Struct]:
    """A struct with one attribute per feature (`f0`, `f1`, ...) and, if asked for, one for the id.

    Raises:
        RequestError: A name cannot be the name of a JSON field here, or two are the same.
    """
    fields: list[Any] = [_field(f"f{index}", feature) for index, feature in enumerate(signature.features)]
    names = {f"f{index}": feature.name for index, feature in enumerate(signature.features)}
    if id_field is not None:
        if id_field in names.values():
            raise RequestError(
                f"the id field {id_field!r} is a feature of the model", remedy="name a field that only identifies"
            )
        fields.append((ID_FIELD, str | int | None, None))
        names[ID_FIELD] = id_field
    try:
        return msgspec.defstruct(
            "Row",
            fields,
            rename=names,
            forbid_unknown_fields=signature.extra_fields is ExtraFields.REJECT,
            kw_only=True,
            gc=False,
        )
    except ValueError as error:
        raise RequestError(
            f"the signature cannot be read from JSON: {error}",
            remedy="rename the feature, without quotes or backslashes",
        ) from error


def _field(attribute: str, feature: Feature) -> tuple[str, Any] | tuple[str, Any, None]:
    kind: Any = _SCALARS[feature.dtype]
    scalar = kind
    for level in range(len(feature.shape)):
        # Flat or nested: one type for both, because a union may hold only one kind of array.
        kind = GenericAlias(list, (scalar | kind if level else scalar,))
    return (attribute, kind | None, None) if feature.nullable else (attribute, kind)


class RowReader:
    """Reads typed rows into the signature's input tensors, in C loops.

    Calling it raises TypeError, ValueError or OverflowError when some row does not fit: wrong lengths, numbers beyond
    the type, infinity where the signature allows none, flat and nested tensors in one batch.
    """

    def __init__(self, signature: Signature) -> None:
        attributes = {feature.name: f"f{index}" for index, feature in enumerate(signature.features)}
        self._signature: Final = signature
        self._allow_infinity: Final = signature.not_finite is NotFinite.ALLOW
        self._getters: Final = [attrgetter(*map(attributes.__getitem__, spec.features)) for spec in signature.inputs]
        self._members: Final = [[signature.feature(name) for name in spec.features] for spec in signature.inputs]

    def __call__(self, rows: Sequence[object]) -> tuple[Tensor, ...]:
        """The input tensors of these rows."""
        return tuple(
            self._checked(_read(members, map(getter, rows), len(rows)))
            for getter, members in zip(self._getters, self._members, strict=True)
        )

    def _checked(self, tensor: Tensor) -> Tensor:
        # NaN needs no check: the parser knows no such literal, so it stands for null.
        if tensor.dtype.kind == "f" and not self._allow_infinity and np.isinf(tensor).any():
            raise ValueError("infinity")
        return tensor


def _read(members: Sequence[Feature], values: Iterable[Any], count: int) -> Tensor:
    """The tensor of one input; `values` holds a tuple per row for several features, and the value itself for one."""
    first = members[0]
    if first.shape:
        return _read_tensor(first, list(values))
    flat = chain.from_iterable(values) if len(members) > 1 else values
    with np.errstate(over="ignore"):
        found = np.fromiter(flat, first.dtype.numpy, count * len(members))
    return found.reshape(count, len(members))


def _read_tensor(feature: Feature, values: Sequence[Sequence[Any] | None]) -> Tensor:
    if not feature.nullable or None not in values:
        return _flatten(feature, values)  # type: ignore[arg-type]
    present = np.fromiter(map(is_not, values, repeat(None)), np.bool_, len(values))
    tensor = np.full((len(values), *feature.shape), np.nan, feature.dtype.numpy)
    tensor[present] = _flatten(feature, list(compress(values, present)))  # type: ignore[arg-type]
    return tensor


def _flatten(feature: Feature, values: Sequence[Sequence[Any]]) -> Tensor:
    shape = (len(values), *feature.shape)
    if not values:
        return np.empty(shape, feature.dtype.numpy)
    is_nested = len(feature.shape) > 1 and isinstance(values[0][0] if values[0] else None, list)
    for size in feature.shape if is_nested else (feature.elements,):
        if set(map(len, values)) != {size}:
            raise ValueError("another number of elements")
        values = list(chain.from_iterable(values))
    with np.errstate(over="ignore"):
        return np.fromiter(values, feature.dtype.numpy, len(values)).reshape(shape)
