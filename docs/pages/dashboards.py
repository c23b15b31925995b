"""Grafana's dashboards, made of the typed metrics: a metric that is renamed is renamed there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace.telemetry import auditor, gateway, inference, launcher, scorer, streams, trainer
from millrace.telemetry.metrics import MetricSpec

_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_PROCESS: Final = "{{node}} {{kind}} {{slot}}"
_SELECTED: Final = 'deployment=~"$deployment"'
"""What the reader of a dashboard chose."""


@dataclass(frozen=True, slots=True)
class Query:
    """A line of a panel: PromQL, and the name of each series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart.

    Attributes:
        title: What it shows.
        unit: Grafana's name of the unit.
        queries: Its lines.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]


def rate(spec: MetricSpec, by: str, *, where: str = _SELECTED) -> Query:
    """A counter's growth a second, by a label."""
    return Query(f"sum by ({by}) (rate({spec.name}{{{where}}}[$__rate_interval]))", f"{{{{{by}}}}}")


def total(spec: MetricSpec, by: str, *, where: str = _SELECTED) -> Query:
    """A gauge, summed by a label."""
    return Query(f"sum by ({by}) ({spec.name}{{{where}}})", f"{{{{{by}}}}}")


def quantiles(spec: MetricSpec, by: str) -> tuple[Query, ...]:
    """The median and the 99th percentile of a histogram, by a label."""
    buckets = f"sum by ({by}, le) (rate({spec.name}_bucket{{{_SELECTED}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({part}, {buckets})", f"{title} {{{{{by}}}}}")
        for part, title in ((0.5, "p50"), (0.99, "p99"))
    )


SCORING: Final = (
    Panel("Predictions", "rps", (rate(scorer.RECORDS_PREDICTED, "slot"),)),
    Panel("Consumer lag", "short", (total(scorer.CONSUMER_LAG, "deployment"),)),
    Panel("End to end latency", "s", quantiles(scorer.END_TO_END_LATENCY, "deployment")),
    Panel("Stages of a micro-batch", "s", quantiles(scorer.STAGE_DURATION, "stage")),
    Panel("Records of a micro-batch", "short", quantiles(scorer.BATCH_SIZE, "deployment")),
    Panel("Dead letters", "rps", (rate(scorer.RECORDS_DEAD_LETTERED, "reason"),)),
    Panel("Transactions", "ops", (rate(scorer.TRANSACTIONS, "outcome"),)),
    Panel("Shed and degraded", "rps", (rate(scorer.RECORDS_SHED, "slot"), rate(scorer.RECORDS_DEGRADED, "slot"))),
    Panel("Model version at work", "short", (Query(f"{scorer.MODEL.name}{{{_SELECTED}}}", "{{model}}/{{version}}"),)),
)
GATEWAY: Final = (
    Panel("Requests", "reqps", (rate(inference.ANSWERED, "status", where='slot=~".*"'),)),
    Panel("Latency of requests", "s", quantiles(inference.REQUEST_DURATION, "deployment")),
    Panel("Stages of a micro-batch", "s", quantiles(inference.STAGE_DURATION, "stage")),
    Panel("Rows of a micro-batch", "short", quantiles(inference.BATCH_ROWS, "deployment")),
    Panel("Deadlines that passed", "reqps", (rate(inference.LATE, "deployment"),)),
    Panel("Answers not logged", "rps", (rate(inference.UNLOGGED, "slot", where='slot=~".*"'),)),
    Panel("Subscribers", "short", (total(streams.SUBSCRIBERS, "transport", where='slot=~".*"'),)),
)
FLEET: Final = (
    Panel("Targets that answer", "short", (Query('sum by (kind) (up{job=~"millrace.*"})', "{{kind}}"),)),
    Panel("Slots by state", "short", (total(launcher.PROCESSES, "state", where='node=~".+"'),)),
    Panel("Crashes", "ops", (rate(launcher.CRASHES, "node", where='node=~".+"'),)),
    Panel("Memory", "bytes", (Query('process_resident_memory_bytes{job=~"millrace.*"}', _PROCESS),)),
    Panel(
        "Processors",
        "short",
        (Query('rate(process_cpu_seconds_total{job=~"millrace.*"}[$__rate_interval])', _PROCESS),),
    ),
    Panel("Callers refused", "reqps", (rate(launcher.REQUESTS_REFUSED, "reason", where='node=~".+"'),)),
    Panel(
        "Age of the identity provider's keys",
        "s",
        (
            Query(launcher.PROVIDER_KEYS_AGE.name, "launcher {{node}}"),
            Query(gateway.PROVIDER_KEYS_AGE.name, "gateway {{slot}}"),
        ),
    ),
    Panel("Events that wait for a label", "short", (total(auditor.EVENTS_HELD, "deployment"),)),
    Panel("Changes of alerts", "ops", (rate(auditor.ALERTS, "deployment"),)),
    Panel("Retrain requests answered", "ops", (rate(trainer.REQUESTS_ENDED, "outcome", where='model=~".+"'),)),
)


def scoring_dashboard() -> str:
    """What scorers do."""
    return _dashboard("scoring", "Scoring", SCORING, chosen_from=scorer.READY)


def gateway_dashboard() -> str:
    """What gateways do."""
    return _dashboard("gateway", "Gateway", GATEWAY, chosen_from=inference.REQUEST_DURATION, suffix="_count")


def fleet_dashboard() -> str:
    """Nodes, and how models fare on them."""
    return _dashboard("fleet", "Fleet and models", FLEET, chosen_from=scorer.READY)


def _dashboard(uid: str, title: str, panels: Sequence[Panel], *, chosen_from: MetricSpec, suffix: str = "") -> str:
    choice = f"label_values({chosen_from.name}{suffix}, deployment)"
    variable = {
        "name": "deployment",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": choice, "refId": "deployment"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    document = {
        "uid": f"millrace-{uid}",
        "title": f"millrace: {title}",
        "tags": ["millrace"],
        "editable": False,
        "refresh": "10s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
            for place, query in enumerate(panel.queries)
        ],
    }
