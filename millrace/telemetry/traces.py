"""Trace contexts of the W3C in headers of records and requests: read, handed on, and nothing else.

Who begins a trace decides whether it is recorded, by a flag in its `traceparent`; what is not recorded costs a look.
Spans are made by `millrace.telemetry.spans`, which needs OpenTelemetry; this needs nothing.

Format: https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final, Self

from millrace.core.records import OutputBatch

TRACEPARENT: Final = "traceparent"

CURRENT: Final[ContextVar[bytes | None]] = ContextVar("traceparent", default=None)
"""The `traceparent` of the span of the request that is being answered; None where it has none."""

_FORM: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_RECORDED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Somebody's span, by its numbers.

    Attributes:
        trace_id: Of the trace; not 0.
        span_id: Of the span in it; not 0.
    """

    trace_id: int
    span_id: int

    @classmethod
    def recorded(cls, traceparent: bytes | None) -> Self | None:
        """The span that a header names; None where it names none, or one of a trace that is not recorded.

        >>> TraceContext.recorded(b"00-000000000000000000000000000000aa-00000000000000bb-01")
        TraceContext(trace_id=170, span_id=187)
        >>> TraceContext.recorded(b"00-000000000000000000000000000000aa-00000000000000bb-00")
        """
        match = _FORM.fullmatch(traceparent or b"")
        if match is None or not int(match[3], 16) & _RECORDED:
            return None
        trace_id, span_id = int(match[1], 16), int(match[2], 16)
        return cls(trace_id, span_id) if trace_id and span_id else None

    def header(self) -> bytes:
        """The header that names it, as recorded."""
        return b"00-%032x-%016x-01" % (self.trace_id, self.span_id)


def with_traceparent(batch: OutputBatch, traceparent: bytes) -> OutputBatch:
    """The same records, each with one header more."""
    header = (TRACEPARENT, traceparent)
    if batch.headers is None:
        return replace(batch, headers=[(header,)] * len(batch))
    return replace(batch, headers=[(*(each or ()), header) for each in batch.headers])
