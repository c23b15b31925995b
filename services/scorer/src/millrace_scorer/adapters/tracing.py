"""A span for each micro-batch that somebody's trace leads to, linked to the spans of its records.

A prediction names the span of its micro-batch. Micro-batches without a recorded trace are scored as if there were no
tracing; where it is off, none of this is there.
"""

from dataclasses import dataclass, replace
from itertools import islice

from opentelemetry.trace import SpanKind

from millrace.codec.headers import header_columns
from millrace.core.batching import Costs
from millrace.core.records import RecordBatch
from millrace.telemetry.spans import MOST_LINKS, Tracing
from millrace.telemetry.traces import TRACEPARENT, TraceContext, with_traceparent
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Models, Scored, Scoring


@dataclass(frozen=True, slots=True)
class TracedModels:
    """See `millrace_scorer.logic.ports.Models`.

    Attributes:
        models: The models.
        tracing: Makes the spans.
        deployment: Its name, an attribute of them.
    """

    models: Models
    tracing: Tracing
    deployment: str

    def current(self) -> Scoring:
        """The model that scores now, traced."""
        return _TracedScoring(self.models.current(), self.tracing, self.deployment)

    def variant(self) -> Scoring | None:
        """The cheaper model, traced."""
        found = self.models.variant()
        return None if found is None else _TracedScoring(found, self.tracing, self.deployment)


@dataclass(frozen=True, slots=True)
class _TracedScoring:
    scoring: Scoring
    tracing: Tracing
    deployment: str

    @property
    def lineup(self) -> Lineup | None:
        """See `Scoring`."""
        return self.scoring.lineup

    @property
    def costs(self) -> Costs:
        """See `Scoring`."""
        return self.scoring.costs

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        """See `Scoring`."""
        links = recorded_traces(records)
        if not links:
            return self.scoring.score(records, wall_ms=wall_ms)
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": records.topic,
            "messaging.batch.message_count": len(records),
            "millrace.deployment": self.deployment,
        }
        with self.tracing.span(
            f"score {records.topic}", kind=SpanKind.CONSUMER, links=links, attributes=attributes
        ) as span:
            scored = self.scoring.score(records, wall_ms=wall_ms)
            span.note("millrace.predictions", scored.tally.predicted)
        header = span.context.header()
        return replace(scored, outputs=tuple(with_traceparent(each, header) for each in scored.outputs))


def recorded_traces(records: RecordBatch) -> list[TraceContext]:
    """The spans that the records of a batch name, each once, as many as a span has links; of recorded traces alone."""
    columns = header_columns(records.headers, (TRACEPARENT,))
    if columns is None:
        return []
    named = dict.fromkeys(columns[0].tolist())
    return list(islice(filter(None, map(TraceContext.recorded, named)), MOST_LINKS))
