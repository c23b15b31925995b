"""Spans, by OpenTelemetry's SDK, sent over OTLP. Imported only where traces are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from millrace.telemetry.traces import TraceContext

MOST_LINKS: Final = 128
"""More links of one span OpenTelemetry drops by default."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span that is being made.

    Attributes:
        context: Its numbers.
    """

    context: TraceContext
    _span: trace.Span

    def note(self, name: str, value: str | int) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """Give it another name: what it is about may be known late."""
        self._span.update_name(name)


class Tracing:
    """Makes spans and sends them in the background; those that the collector does not take in time are dropped.

    Thread-safe. Close it, or use it in a `with`.

    Args:
        service: The name that spans have as `service.name`.
        processor: What becomes of spans that ended.
    """

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("millrace")

    @classmethod
    def to(cls, endpoint: str, *, service: str) -> Self:
        """Send spans to this address, over OTLP by HTTP."""
        return cls(service, BatchSpanProcessor(OTLPSpanExporter(endpoint)))

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: trace.SpanKind,
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        attributes: Mapping[str, str | int],
    ) -> Iterator[Span]:
        """A span around what happens inside; an error that is raised there is noted in it.

        Args:
            name: What it is about, out of few.
            kind: As OpenTelemetry understands it.
            parent: The span that it is a part of; a new trace begins where there is none.
            links: Other spans that led to it; the first `MOST_LINKS` are kept.
            attributes: What is known of it.
        """
        above = None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(_context(parent)))
        with self._tracer.start_as_current_span(
            name,
            context=above,
            kind=kind,
            links=[trace.Link(_context(each)) for each in links[:MOST_LINKS]],
            attributes=attributes,
        ) as span:
            own = span.get_span_context()
            yield Span(TraceContext(own.trace_id, own.span_id), span)

    def close(self) -> None:
        """Send what was not sent yet, for as long as the exporter's time-out, and stop."""
        self._provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _context(of: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(of.trace_id, of.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
