"""`docs/reference/metrics.md`: every metric of every process."""

from docs.pages.markdown import GENERATED, code, table
from millrace.telemetry.metrics import Kind, Label, MetricSpec
from millrace.telemetry.scorer import SCORER


def metrics_page() -> str:
    """The page."""
    parts = [
        "# Metrics",
        GENERATED,
        "Every process serves its metrics in Prometheus' text format on `/metrics`, beside `/livez` and `/readyz`. "
        "Names follow `millrace_<service>_<noun>_<unit>[_total]`. Every series of a deployment's process has the label "
        "`deployment`.",
        "## Scorer",
        table(("metric", "kind", "labels", "meaning"), map(_cells, SCORER)),
        "## Buckets",
        "Upper bounds of the histograms:",
        table(
            ("metric", "bounds"),
            ((code(spec.name), ", ".join(map(str, spec.buckets))) for spec in SCORER if spec.kind is Kind.HISTOGRAM),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(spec: MetricSpec) -> tuple[str, str, str, str]:
    return (code(spec.name), spec.kind, "; ".join(map(_label, spec.labels)), spec.sentence)


def _label(label: Label) -> str:
    values = f": {', '.join(label.values)}" if label.values else ""
    return f"{code(label.name)}{values}"
