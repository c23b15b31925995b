"""Trace contexts in headers: what is read, what is not, and how they are handed on."""

import numpy as np
import pytest

from millrace.core.records import OutputBatch
from millrace.telemetry.traces import TraceContext, with_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_recorded_span_is_read_and_written_again() -> None:
    header = f"00-{TRACE}-{SPAN}-01".encode()
    found = TraceContext.recorded(header)
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16))
    assert found.header() == header


def test_a_later_version_may_say_more() -> None:
    assert TraceContext.recorded(f"01-{TRACE}-{SPAN}-03-more".encode()) is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"nonsense",
        f"00-{TRACE}-{SPAN}-00".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01\n".encode(),
        f"00-{TRACE}-{SPAN}".encode(),
    ],
)
def test_what_is_not_recorded_or_no_span_is_none(header: bytes | None) -> None:
    assert TraceContext.recorded(header) is None


def test_a_header_comes_behind_those_that_are_there() -> None:
    batch = OutputBatch("t", np.zeros(2, np.int32), np.zeros(2, np.int64), [None] * 2, [b"", b""])
    once = with_traceparent(batch, b"a")
    assert once.headers == [(("traceparent", b"a"),)] * 2
    assert with_traceparent(once, b"b").headers == [(("traceparent", b"a"), ("traceparent", b"b"))] * 2
