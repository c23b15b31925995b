"""A trace that leads through the containers of a gateway and a scorer, as a collector in a third gets it."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import httpx

from millrace.codec.reading import read_prediction
from millrace.core.records import RecordBatch
from millrace.kafka.reading import Reader
from millrace.telemetry.traces import TRACEPARENT, TraceContext
from millrace.testing.waiting import eventually
from tests.compose.stack import FEATURES, PATIENCE, Stack

CALLER: Final = TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
DOOR: Final = "POST /v1/streams/{stream}/events"

Span = dict[str, Any]


def spans() -> Iterator[tuple[str, Span]]:
    """Every span that the collector got, and the service that sent it."""
    answer = httpx.get("http://127.0.0.1:4318", trust_env=False, timeout=30).raise_for_status()
    for process in (each for request in answer.json() for each in request["resourceSpans"]):
        named = {each["key"]: each["value"].get("stringValue") for each in process["resource"]["attributes"]}
        for library in process["scopeSpans"]:
            yield from ((named["service.name"], span) for span in library["spans"])


def context(span: Span) -> TraceContext:
    """A span's numbers, or those that a link of one names."""
    trace_id, span_id = (int.from_bytes(base64.b64decode(span[each]), "big") for each in ("traceId", "spanId"))
    return TraceContext(trace_id, span_id)


def doors_and_batches() -> list[tuple[Span, Span]]:
    """The span of each request with that of the micro-batch that is linked to it."""
    sent = list(spans())
    doors = [span for service, span in sent if (service, span["name"]) == ("millrace-gateway", DOOR)]
    batches = [span for service, span in sent if service == "millrace-scorer"]
    return [(door, each) for door in doors for each in batches if context(door) in map(context, each.get("links", []))]


def coordinates_that_name(stack: Stack, topic: str, span: Span) -> Iterator[tuple[RecordBatch, int]]:
    """Every record of a topic whose header is the name of a span: its batch, and its row in that."""
    with Reader(stack.broker.kafka, topic) as reader:
        for batch in reader:
            for row, headers in enumerate(batch.headers):
                if dict(headers or ()).get(TRACEPARENT) == context(span).header():
                    yield batch, row


def test_a_trace_leads_through_the_containers_to_a_prediction(stack: Stack) -> None:
    stack.take_from_nodes()
    stack.up("collector")
    stack.up("gateway", "scorer", environment={"MILLRACE_TRACES__ENDPOINT": "http://collector:4318/v1/traces"})
    with stack.control() as control:
        key = control.create_key("trace-test", role="operator")["key"]
    known = {"Authorization": f"Bearer {key}", TRACEPARENT: CALLER.header().decode()}
    with httpx.Client(base_url="http://127.0.0.1:8000", headers=known, timeout=60, trust_env=False) as client:
        event = {"a": 0.5, "b": -1.25, "c": 3}
        eventually(lambda: client.post("/v1/streams/rain/events", json=event).is_success, within=PATIENCE)
    door, batch = eventually(doors_and_batches, within=PATIENCE, what="spans of gateway and scorer")[0]
    assert batch["name"] == f"score {FEATURES}"
    assert context(door).trace_id == CALLER.trace_id
    assert int.from_bytes(base64.b64decode(door["parentSpanId"]), "big") == CALLER.span_id
    [(record, row)] = coordinates_that_name(stack, FEATURES, door)
    source = {"topic": FEATURES, "partition": int(record.partitions[row]), "offset": int(record.offsets[row])}

    def predicted() -> list[Any]:
        named = coordinates_that_name(stack, "rain.predictions", batch)
        return [read_prediction(batch.values[row])["source"] for batch, row in named]

    sources = eventually(predicted, within=PATIENCE, what="a prediction with the micro-batch's name")
    assert source in sources
