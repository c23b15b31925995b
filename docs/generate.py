"""Writes what would drift if people wrote it: `python -m docs.generate`, or `--check` to only compare."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from docs.pages.asyncapi import asyncapi_document
from docs.pages.cli import cli_page
from docs.pages.dashboards import fleet_dashboard, gateway_dashboard, scoring_dashboard
from docs.pages.fleet import assignments_schema, jobs_schema, keys_schema, nodes_schema, processes_schema
from docs.pages.metrics import metrics_page
from docs.pages.schemas import (
    deployment_schema,
    models_schema,
    retraining_schema,
    transform_schema,
    weather_avro_schema,
    weather_schema,
)
from docs.pages.settings import settings_page
from docs.pages.topic_files import ROOT
from docs.pages.topics import topics_page
from docs.pages.transforms import transforms_page

GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    # Schemas first: the later ones read them.
    "schemas/deployments/v1/schema.json": deployment_schema,
    "schemas/models/v1/schema.json": models_schema,
    "schemas/retrain-requests/v1/schema.json": retraining_schema,
    "schemas/transform.schema.json": transform_schema,
    "schemas/nodes/v1/schema.json": nodes_schema,
    "schemas/assignments/v1/schema.json": assignments_schema,
    "schemas/processes/v1/schema.json": processes_schema,
    "schemas/jobs/v1/schema.json": jobs_schema,
    "schemas/keys/v1/schema.json": keys_schema,
    "schemas/features/v1/schema.json": weather_schema,
    "schemas/features/v1/schema.avsc": weather_avro_schema,
    "schemas/asyncapi.yaml": asyncapi_document,
    "docs/reference/settings.md": settings_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/topics.md": topics_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/transforms.md": transforms_page,
    "compose/observability/grafana/dashboards/scoring.json": scoring_dashboard,
    "compose/observability/grafana/dashboards/gateway.json": gateway_dashboard,
    "compose/observability/grafana/dashboards/fleet.json": fleet_dashboard,
}
"""Every generated file, and what its text must be."""


def is_current(path: Path, text: str) -> bool:
    """Whether the file holds exactly this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


def main(arguments: Sequence[str]) -> int:
    """Write the files that are out of date, or with `--check` only name them. Returns the exit code."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: python -m docs.generate [--check]\n")
        return 2
    stale = 0
    for name, text in GENERATED.items():
        content = text()
        if is_current(ROOT / name, content):
            continue
        stale += 1
        sys.stderr.write(f"{name}: {'out of date, run `make docs`' if check else 'written'}\n")
        if not check:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(content, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
