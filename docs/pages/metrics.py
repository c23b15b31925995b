"""`docs/reference/metrics.md`: every metric of every process."""

from collections.abc import Mapping
from typing import Final

from docs.pages.markdown import GENERATED, code, table
from millrace.telemetry.auditor import AUDITOR
from millrace.telemetry.gateway import GATEWAY
from millrace.telemetry.launcher import LAUNCHER
from millrace.telemetry.materializer import MATERIALIZER
from millrace.telemetry.metrics import Kind, Label, MetricSpec
from millrace.telemetry.scorer import SCORER
from millrace.telemetry.trainer import TRAINER

SERVICES: Final[Mapping[str, tuple[MetricSpec, ...]]] = {
    "Scorer": SCORER,
    "Gateway": GATEWAY,
    "Auditor": AUDITOR,
    "Trainer": TRAINER,
    "Materializer": MATERIALIZER,
    "Launcher": LAUNCHER,
}
"""The metrics of each process."""


def metrics_page() -> str:
    """The page."""
    parts = [
        "# Metrics",
        GENERATED,
        "Every process serves its metrics in Prometheus' text format on `/metrics`, beside `/livez` and `/readyz`. "
        "Names follow `millrace_<service>_<noun>_<unit>[_total]`. Every series of a deployment's process has the label "
        "`deployment`, every series of a trainer the label `model`, of a materializer `topic`, of a launcher `node`.",
        *map(_section, SERVICES),
        "## Buckets",
        "Upper bounds of the histograms:",
        table(
            ("metric", "bounds"),
            (
                (code(spec.name), ", ".join(map(str, spec.buckets)))
                for specs in SERVICES.values()
                for spec in specs
                if spec.kind is Kind.HISTOGRAM
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _section(service: str) -> str:
    cells = map(_cells, SERVICES[service])
    return f"## {service}\n\n" + table(("metric", "kind", "labels", "meaning"), cells)


def _cells(spec: MetricSpec) -> tuple[str, str, str, str]:
    return (code(spec.name), spec.kind, "; ".join(map(_label, spec.labels)), spec.sentence)


def _label(label: Label) -> str:
    values = f": {', '.join(label.values)}" if label.values else ""
    return f"{code(label.name)}{values}"
