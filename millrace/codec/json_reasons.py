"""One JSON record, read slowly: why it cannot be scored, or its values where they are not finite and may be."""

import json
import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Final

from millrace.codec.documents import DocumentReader, RecordValues, name_of
from millrace.codec.limits import Limits
from millrace.codec.nesting import deepest
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.signature import NotFinite, Signature

_BLANK: Final = b" \t\r\n"
_DIGITS: Final = 4000  # Python refuses to read longer integers; these are beyond every type as well
# What may be left of a document that ends inside a number or a literal.
_CUT_TOKEN: Final = re.compile(r"\.|[eE][-+]?|-?I(n(f(i(n(it?)?)?)?)?)?|-|t(ru?)?|f(a(ls?)?)?|n(ul?)?|Na?|")
_CUT_ESCAPE: Final = re.compile(r"u?[0-9a-fA-F]{0,4}")


class JsonRecordReader:
    """Reads one record that the fast decoder refused.

    It accepts one thing that the fast decoder does not: numbers that are not finite, where the signature allows them.
    """

    def __init__(self, signature: Signature, limits: Limits, id_field: str | None) -> None:
        self._signature: Final = signature
        self._limits: Final = limits
        self._read: Final = DocumentReader(signature, id_field)

    def __call__(self, value: bytes, *, refusal: Callable[[bytes], str]) -> RecordValues:
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
            raise InvalidRecordError(Reason.MALFORMED, f"the value is {name_of(document)} instead of an object")
        record = self._read(document)
        self._check_literals(literals)
        present = (found for name, found in record.values.items() if document.get(name) is not None)
        if not literals and all(map(_is_plain, present)):
            raise InvalidRecordError(Reason.MALFORMED, refusal(value))
        return record

    def _check_literals(self, literals: Sequence[str]) -> None:
        if literals and self._signature.not_finite is NotFinite.REJECT:
            raise InvalidRecordError(Reason.NOT_FINITE, f"the record has a number {literals[0]}")


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


def _is_plain(values: Sequence[object]) -> bool:
    return not any(isinstance(value, float) and not isfinite(value) for value in values)
