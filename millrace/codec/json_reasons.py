"""One JSON record, read slowly: why it cannot be scored, or its values where they are not finite and may be."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any, Final

import numpy as np

from millrace.codec.limits import Limits
from millrace.codec.nesting import deepest
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.signature import DType, ExtraFields, Feature, NotFinite, Signature

_BLANK: Final = b" \t\r\n"
_DIGITS: Final = 4000  # Python refuses to read longer integers; these are beyond every type as well
_QUOTED: Final = 64  # longest name of a field that a reason repeats
# What may be left of a document that ends inside a number or a literal.
_CUT_TOKEN: Final = re.compile(r"\.|[eE][-+]?|-?I(n(f(i(n(it?)?)?)?)?)?|-|t(ru?)?|f(a(ls?)?)?|n(ul?)?|Na?|")
_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    str: "a text",
    list: "an array",
}
_CUT_ESCAPE: Final = re.compile(r"u?[0-9a-fA-F]{0,4}")


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """The values of one record.

    Attributes:
        values: Elements of each feature in row-major order, by the feature's name.
        event_id: The record's own id, if it has one.
    """

    values: Mapping[str, Sequence[Any]]
    event_id: str | int | None


class RecordReader:
    """Reads one record that the fast decoder refused.

    It accepts one thing that the fast decoder does not: numbers that are not finite, where the signature allows them.
    """

    def __init__(self, signature: Signature, limits: Limits, id_field: str | None) -> None:
        self._signature: Final = signature
        self._limits: Final = limits
        self._id_field: Final = id_field
        self._known: Final = {feature.name for feature in signature.features} | {id_field}

    def __call__(self, value: bytes, *, refusal: Callable[[bytes], str]) -> JsonRecord:
        """The values of the record.

        Args:
            value: The record's value, refused by the fast decoder.
            refusal: Says why the fast decoder refused a value; asked when nothing else is found.

        Raises:
            InvalidRecordError: Always, unless only numbers that are not finite made the fast decoder refuse the value,
                and the signature allows them.
        """
        if not value.strip(_BLANK):
            raise InvalidRecordError(Reason.EMPTY, "the value is white space")
        text = _text(value)
        depth = deepest(value)
        if depth > self._limits.depth:
            raise InvalidRecordError(
                Reason.TOO_DEEP, f"the value is nested {depth} levels deep and the stream allows {self._limits.depth}"
            )
        literals: list[str] = []
        document = _parse(text, literals)
        if not isinstance(document, dict):
            raise InvalidRecordError(Reason.MALFORMED, f"the value is {_name(document)} instead of an object")
        self._check_names(document)
        values = {
            feature.name: self._values(feature, document.get(feature.name)) for feature in self._signature.features
        }
        event_id = self._event_id(document)
        self._check_literals(literals)
        present = (found for name, found in values.items() if document.get(name) is not None)
        if not literals and all(map(_is_plain, present)):
            raise InvalidRecordError(Reason.MALFORMED, refusal(value))
        return JsonRecord(values, event_id)

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

    def _check_literals(self, literals: Sequence[str]) -> None:
        if literals and self._signature.not_finite is NotFinite.REJECT:
            raise InvalidRecordError(Reason.NOT_FINITE, f"the record has a number {literals[0]}")

    def _event_id(self, document: Mapping[str, object]) -> str | int | None:
        if self._id_field is None:
            return None
        found = document.get(self._id_field)
        if found is None or (isinstance(found, int) and not isinstance(found, bool)):
            return found
        if isinstance(found, str):
            return _encodable(self._id_field, found)
        raise InvalidRecordError(
            Reason.WRONG_TYPE, f"the id field {self._id_field!r} is {_name(found)} instead of a text or an integer"
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


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            raise InvalidRecordError(Reason.TRUNCATED, "the value ends inside a character") from None
        raise InvalidRecordError(
            Reason.INVALID_UTF8, f"byte {error.start} of the value is not UTF-8: {error.reason}"
        ) from None


def _parse(text: str, literals: list[str]) -> object:
    """The document, with the literals that JSON does not have added to `literals`."""

    def constant(literal: str) -> float:
        literals.append(literal)
        return float(literal)

    try:
        return json.loads(text, parse_constant=constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        reason = Reason.TRUNCATED if _is_cut(error) else Reason.MALFORMED
        raise InvalidRecordError(reason, f"{error.msg}, line {error.lineno} column {error.colno}") from None


def _integer(digits: str) -> int:
    return int(digits[:_DIGITS])


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Whether the text ends before its document does."""
    if error.msg == "Extra data":
        return False
    if error.msg.startswith("Unterminated string"):
        return True
    rest = error.doc[error.pos :].rstrip()
    if "escape" in error.msg:
        return _CUT_ESCAPE.fullmatch(rest) is not None
    return _CUT_TOKEN.fullmatch(rest) is not None


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


def _is_plain(values: Sequence[object]) -> bool:
    return not any(isinstance(value, float) and not isfinite(value) for value in values)


def _wrong_type(feature: Feature, found: object) -> InvalidRecordError:
    return InvalidRecordError(Reason.WRONG_TYPE, f"field {feature.name!r} is {_name(found)} instead of {feature.dtype}")


def _wrong_shape(feature: Feature, found: str) -> InvalidRecordError:
    return InvalidRecordError(Reason.WRONG_SHAPE, f"field {feature.name!r} of shape {feature.shape} has {found}")


def _name(found: object) -> str:
    """What JSON calls a value of this type."""
    return _NAMES.get(type(found), "an object")
