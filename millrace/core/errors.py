"""The errors of millrace.

The first level says what the caller must do, because that is the only question a loop asks::

    MillraceError
    |-- InvalidRecordError     this record can never be scored: dead-letter it, never retry
    |-- TransientError         may succeed later: pause, retry with backoff, bounded
    |-- FatalError             cannot go on: stop, and let whoever supervises restart
    `-- RequestError           the caller asked for something that cannot be: tell the caller how to ask

Every error says what is wrong in one line and, where there is one, the remedy. Errors survive pickling, because
guarded child processes send them to their parents.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a record cannot be scored. A closed list: dashboards and dead-letter replays select on it."""

    TOMBSTONE = "tombstone"
    """The record has no value."""
    EMPTY = "empty"
    """The value has no bytes, or only white space."""
    OVERSIZED = "oversized"
    """The value is larger than the stream's limit."""
    INVALID_UTF8 = "invalid_utf8"
    """Text that is not UTF-8."""
    TRUNCATED = "truncated"
    """The value ends before its document does."""
    MALFORMED = "malformed"
    """The value is not a document of the stream's format."""
    TOO_DEEP = "too_deep"
    """Nested deeper than the limit."""
    MISSING_FIELD = "missing_field"
    """A field of the signature is absent, or null where the signature does not allow it."""
    EXTRA_FIELD = "extra_field"
    """A field that the signature does not name, where the signature forbids such fields."""
    WRONG_TYPE = "wrong_type"
    """A field has another type than the signature's."""
    WRONG_SHAPE = "wrong_shape"
    """A tensor field has another number of elements than the signature's."""
    NOT_FINITE = "not_finite"
    """NaN or infinity (or a number too large for the type), where the signature does not allow it."""
    UNKNOWN_SCHEMA = "unknown_schema"
    """The schema id is neither in the registry nor among the stream's schemas."""
    SCHEMA_MISMATCH = "schema_mismatch"
    """The writer's schema is known but cannot be read as the signature."""
    UNKNOWN_CONTENT_TYPE = "unknown_content_type"
    """The content-type header names a format that the stream does not accept."""
    UNENRICHED = "unenriched"
    """The online store has no value, or none young enough, for a feature that must come from it."""
    MISSING_BLOB = "missing_blob"
    """The record names a blob that the blob store does not have."""
    INVALID_BLOB = "invalid_blob"
    """The blob that the record names is damaged, or is no file of the expected kind."""
    LEFT_OUT = "left_out"
    """A filter of the model's transform leaves it out. Told to those who wait for an answer; no dead letter has it."""
    MODEL_ERROR = "model_error"
    """The model refused this one record."""
    UNENCODABLE = "unencodable"
    """The prediction cannot be written in the output format."""
    REPLAYED_TOO_OFTEN = "replayed_too_often"
    """A dead letter came back more often than the loop guard allows."""


class MillraceError(Exception):
    """Base of every error that millrace raises on purpose.

    Args:
        message: What is wrong, in one line, naming the thing and the place.
        remedy: What to do about it, in one line; empty where nobody can do anything.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        """Keep keyword-only fields across pickling."""
        return _rebuild, (type(self), dict(self.__dict__))

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class InvalidRecordError(MillraceError):
    """One record can never be scored. It goes to the dead letter queue with its original bytes.

    Args:
        reason: The closed-list reason.
        detail: What exactly is wrong, in one line; it must not repeat the record's content at length.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(MillraceError):
    """The same call may succeed later. Callers pause and retry with backoff, within a bound."""


class FatalError(MillraceError):
    """The process cannot go on and must stop; nothing that was committed is affected."""


class RequestError(MillraceError):
    """What was asked for cannot be done as asked; asking differently can."""


def _rebuild(cls: type[MillraceError], state: dict[str, object]) -> MillraceError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error
