"""One span for each micro-batch that a recorded trace leads to, with links, and its name on every prediction."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from millrace.core.batching import Costs
from millrace.core.errors import FatalError
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings, Settings
from millrace.telemetry.spans import MOST_LINKS, Tracing
from millrace.telemetry.traces import TraceContext
from millrace_scorer.adapters.tracing import TracedModels
from millrace_scorer.app import Scorer
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Scored, Scoring, Tally


@dataclass(frozen=True, slots=True)
class Echo:
    """Makes of each record a prediction, or fails."""

    fails: bool = False

    @property
    def lineup(self) -> Lineup | None:
        return None

    @property
    def costs(self) -> Costs:
        raise NotImplementedError

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        if self.fails:
            raise FatalError("no record can be scored")
        made = OutputBatch("p", records.partitions, records.timestamps_ms, records.keys, [b"p"] * len(records))
        return Scored((made,), Tally(consumed=len(records), predicted=len(records)))


@dataclass(frozen=True, slots=True)
class OneModel:
    scoring: Scoring

    def current(self) -> Scoring:
        return self.scoring

    def variant(self) -> Scoring | None:
        return None


def traceparent(number: int, flag: str = "01") -> bytes:
    return f"00-{number:032x}-{number:016x}-{flag}".encode()


def records(traces: Sequence[bytes | None]) -> RecordBatch:
    headers: list[Headers | None] = [None if each is None else [("traceparent", each)] for each in traces]
    count = len(traces)
    nothing = [None] * count
    stamps = np.zeros(count, np.int64)
    return RecordBatch("rain.features", np.zeros(count, np.int32), np.arange(count), stamps, nothing, nothing, headers)


def score(batch: RecordBatch, scoring: Scoring | None = None) -> tuple[OutputBatch, tuple[ReadableSpan, ...]]:
    exporter = InMemorySpanExporter()
    with Tracing("millrace-scorer", SimpleSpanProcessor(exporter)) as tracing:
        models = TracedModels(OneModel(scoring or Echo()), tracing, "rain")
        assert models.variant() is None
        [outputs] = models.current().score(batch, wall_ms=0).outputs
        return outputs, exporter.get_finished_spans()


def test_a_batch_has_one_span_with_a_link_to_each_trace_and_its_predictions_name_it() -> None:
    outputs, [span] = score(records([traceparent(1), None, traceparent(2), traceparent(1), traceparent(3, "00")]))
    assert [link.context.trace_id for link in span.links] == [1, 2]
    assert span.name == "score rain.features"
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 5
    assert span.attributes["millrace.predictions"] == 5
    assert span.resource.attributes["service.name"] == "millrace-scorer"
    own = TraceContext(span.context.trace_id, span.context.span_id)
    assert outputs.headers == [(("traceparent", own.header()),)] * 5
    assert span.parent is None, "it belongs to no single one of them"


@pytest.mark.parametrize("traces", [[None, None], [traceparent(1, "00")], [b"nonsense"], []])
def test_a_batch_that_no_recorded_trace_leads_to_has_none(traces: list[bytes | None]) -> None:
    outputs, spans = score(records(traces))
    assert spans == ()
    assert outputs.headers is None


def test_more_traces_than_a_span_has_links_are_left_out() -> None:
    _, [span] = score(records([traceparent(number) for number in range(1, MOST_LINKS + 10)]))
    assert len(span.links) == MOST_LINKS
    assert span.dropped_links == 0


def test_an_error_is_in_the_span() -> None:
    exporter = InMemorySpanExporter()
    with Tracing("millrace-scorer", SimpleSpanProcessor(exporter)) as tracing:
        models = TracedModels(OneModel(Echo(fails=True)), tracing, "rain")
        with pytest.raises(FatalError):
            models.current().score(records([traceparent(1)]), wall_ms=0)
    [span] = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert [event.name for event in span.events] == ["exception"]


def test_where_traces_are_off_the_models_are_what_they_were_and_nothing_of_opentelemetry_is_loaded() -> None:
    deployment = Deployment.parse({"deployment": "rain", "source": {"topic": "t"}, "model": "m"}, subject="the test")
    kafka = KafkaSettings(bootstrap="localhost:9092")
    scorer = Scorer(Settings(), kafka, deployment, slot=0, clock=SystemClock())
    models = OneModel(Echo())
    with ExitStack() as stack:
        assert scorer._traced(models, stack) is models
    loaded = "import millrace_scorer.app, sys; sys.exit('opentelemetry.sdk' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], check=True, timeout=120)
