"""Parsed records, whatever they were written in, against the signature: one at a time, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any, Final

import numpy as np

from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.signature import DType, ExtraFields, Feature, NotFinite, Signature

_QUOTED: Final = 64  # longest name of a field that a reason repeats
_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    str: "a text",
    list: "an array",
}


@dataclass(frozen=True, slots=True)
class RecordValues:
    """The values of one record.

    Attributes:
        values: Elements of each feature in row-major order, by the feature's name.
        event_id: The record's own id, if it has one.
    """

    values: Mapping[str, Sequence[Any]]
    event_id: str | None


class DocumentReader:
    """Reads the features of parsed records."""

    def __init__(self, signature: Signature, id_field: str | None) -> None:
        self._signature: Final = signature
        self._id_field: Final = id_field
        self._known: Final = {feature.name for feature in signature.features} | {id_field}

    def __call__(self, document: Mapping[str, object]) -> RecordValues:
        """The values of the record. Values that are not finite are kept where the signature allows them.

        Raises:
            InvalidRecordError: A field is missing, too much, or not what the signature says.
        """
        self._check_names(document)
        values = {
            feature.name: self._values(feature, document.get(feature.name)) for feature in self._signature.features
        }
        return RecordValues(values, self._event_id(document))

    def _check_names(self, document: Mapping[str, object]) -> None:
        for feature in self._signature.features:
            if document.get(feature.name) is None and not feature.nullable:
                missing = "is null" if feature.name in document else "is absent"
                raise InvalidRecordError(Reason.MISSING_FIELD, f"field {feature.name!r} {missing}")
        if self._signature.extra_fields is ExtraFields.REJECT:
            extra = [name for name in document if name not in self._known]
            if extra:
                raise InvalidRecordError(
                    Reason.EXTRA_FIELD, f"field {extra[0][:_QUOTED]!r} is not in the model's signature"
                )

    def _event_id(self, document: Mapping[str, object]) -> str | None:
        found = None if self._id_field is None else document.get(self._id_field)
        if found is None or found == "":
            return None
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if isinstance(found, str):
            return _encodable(str(self._id_field), found)
        raise InvalidRecordError(
            Reason.WRONG_TYPE, f"the id field {self._id_field!r} is {name_of(found)} instead of a text or an integer"
        )

    def _values(self, feature: Feature, found: object) -> Sequence[Any]:
        if found is None:
            return [nan] * feature.elements
        if not feature.shape:
            return [self._element(feature, found)]
        if not isinstance(found, list):
            raise _wrong_type(feature, found)
        return [self._element(feature, element) for element in _flat(feature, found)]

    def _element(self, feature: Feature, found: object) -> Any:  # noqa: ANN401 - the types of JSON
        match feature.dtype, found:
            case DType.BOOL, bool():
                return found
            case DType.STRING, str():
                return _encodable(feature.name, found)
            case (DType.BOOL | DType.STRING, _) | (_, bool()):
                raise _wrong_type(feature, found)
            case ((DType.INT32 | DType.INT64), int()):
                bounds = np.iinfo(feature.dtype.value)
                if not bounds.min <= found <= bounds.max:
                    raise InvalidRecordError(
                        Reason.NOT_FINITE, f"field {feature.name!r} is beyond the range of {feature.dtype}"
                    )
                return found
            case ((DType.FLOAT32 | DType.FLOAT64), (int() | float())):
                return self._float(feature, found)
        raise _wrong_type(feature, found)

    def _float(self, feature: Feature, found: float) -> float:
        try:
            with np.errstate(over="ignore"):
                number = float(np.dtype(feature.dtype.value).type(float(found)))
        except OverflowError:
            number = inf if found > 0 else -inf
        if not isfinite(number) and self._signature.not_finite is NotFinite.REJECT:
            words = (
                "is beyond the range of"
                if isinstance(found, int) or isfinite(found)
                else f"is {found} and not a finite"
            )
            raise InvalidRecordError(Reason.NOT_FINITE, f"field {feature.name!r} {words} {feature.dtype}")
        return number


def _flat(feature: Feature, found: list[Any]) -> list[Any]:
    """The elements of a flat or nested array, in row-major order."""
    is_nested = len(feature.shape) > 1 and bool(found) and isinstance(found[0], list)
    elements = found
    sizes = feature.shape if is_nested else (feature.elements,)
    for level, size in enumerate(sizes):
        arrays = [elements] if level == 0 else elements
        for array in arrays:
            if not isinstance(array, list):
                raise _wrong_shape(feature, "an array that is nested unevenly")
            if len(array) != size:
                raise _wrong_shape(feature, f"{len(array)} elements instead of {size}")
        elements = [element for array in arrays for element in array]
    if any(isinstance(element, list) for element in elements):
        raise _wrong_shape(feature, "an array that is nested otherwise")
    return elements


def _encodable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRecordError(Reason.MALFORMED, f"field {field!r} has half of a surrogate pair") from None
    return text


def _wrong_type(feature: Feature, found: object) -> InvalidRecordError:
    return InvalidRecordError(
        Reason.WRONG_TYPE, f"field {feature.name!r} is {name_of(found)} instead of {feature.dtype}"
    )


def _wrong_shape(feature: Feature, found: str) -> InvalidRecordError:
    return InvalidRecordError(Reason.WRONG_SHAPE, f"field {feature.name!r} of shape {feature.shape} has {found}")


def name_of(found: object) -> str:
    """What JSON calls a value of this type."""
    return _NAMES.get(type(found), "an object")
