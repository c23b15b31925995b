"""Dashboards and alert rules ask for metrics, labels and values that exist, and every alert says what to do."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from docs.pages.metrics import SERVICES
from millrace.telemetry.metrics import Kind
from millrace_launcher.logic.discovery import LABELS

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "compose" / "observability"
GUIDE: Final = ROOT / "docs" / "guides" / "observability.md"
RULES: Final = FOLDER / "prometheus" / "rules" / "millrace.yml"

COMMON: Final = {*LABELS, "job", "instance", "le", "model", "topic"}
"""Labels of the scrape, of the target and of the whole process, beside a metric's own."""
FOREIGN: Final = ("up", "process_resident_memory_bytes", "process_cpu_seconds_total")
"""Of Prometheus and its client."""
KNOWN: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {name: {} for name in FOREIGN} | {
    f"{spec.name}{suffix}": {label.name: label.values for label in spec.labels}
    for specs in SERVICES.values()
    for spec in specs
    for suffix in (("_bucket", "_sum", "_count") if spec.kind is Kind.HISTOGRAM else ("",))
}

METRIC: Final = re.compile(r"\b(?P<name>millrace_\w+|process_\w+|up)\b(?P<matchers>\{[^}]*\})?")
MATCHER: Final = re.compile(r'(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')
GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\((?P<labels>[^)]*)\)")
LEGEND: Final = re.compile(r"\{\{(\w+)\}\}")


def faults(query: str, legend: str = "") -> list[str]:
    """What of a query does not exist."""
    found, own = [], set(COMMON)
    for match in METRIC.finditer(query):
        labels = KNOWN.get(match["name"])
        if labels is None:
            found.append(f"there is no metric {match['name']}")
            continue
        own |= labels.keys()
        for label, how, value in MATCHER.findall(match["matchers"] or ""):
            if label not in labels and label not in COMMON:
                found.append(f"{match['name']} has no label {label}")
            elif label in labels and labels[label] and not any(_selects(how, value, each) for each in labels[label]):
                found.append(f"{label} of {match['name']} is never {value}")
    if not METRIC.search(query):
        found.append("asks for no metric")
    named = [label.strip() for group in GROUPING.findall(query) for label in group.split(",")]
    found += [f"nothing has the label {each}" for each in (*named, *LEGEND.findall(legend)) if each not in own]
    return found


def _selects(how: str, value: str, held: str) -> bool:
    return "$" in value or how in {"!=", "!~"} or bool(re.fullmatch(value if how == "=~" else re.escape(value), held))


def alerts() -> dict[str, Any]:
    """The rules, by the alert's name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def lines() -> Iterator[Any]:
    """What every panel asks, and how it names the answers."""
    for file in sorted((FOLDER / "grafana" / "dashboards").glob("*.json")):
        document = json.loads(file.read_text())
        for variable in document["templating"]["list"]:
            yield pytest.param(variable["query"]["query"], "", id=f"{file.stem}-{variable['name']}")
        for panel in document["panels"]:
            for line in panel["targets"]:
                yield pytest.param(line["expr"], line["legendFormat"], id=f"{file.stem}-{panel['id']}{line['refId']}")


@pytest.mark.parametrize(("query", "legend"), list(lines()))
def test_a_dashboard_asks_for_what_exists(query: str, legend: str) -> None:
    assert faults(query, legend) == []


@pytest.mark.parametrize("alert", list(alerts()))
def test_an_alert_asks_for_what_exists(alert: str) -> None:
    assert faults(alerts()[alert]["expr"]) == []


@pytest.mark.parametrize(
    ("query", "legend", "fault"),
    [
        ("rate(millrace_scorer_consumd_records_total[5m])", "", "no metric millrace_scorer_consumd_records_total"),
        ("millrace_scorer_stage_duration_seconds", "", "no metric"),
        ('millrace_lane_transactions_total{result="committed"}', "", "no label result"),
        ('millrace_lane_transactions_total{outcome="comitted"}', "", "never comitted"),
        ("sum by (reasn) (millrace_scorer_dead_letter_records_total)", "", "the label reasn"),
        ("millrace_scorer_ready_state", "{{version}}", "the label version"),
        ("sum(1)", "", "no metric"),
    ],
)
def test_what_does_not_exist_is_found(query: str, legend: str, fault: str) -> None:
    [found] = faults(query, legend)
    assert fault in found


def test_every_alert_has_its_place_in_the_guide_and_the_guide_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", GUIDE.read_text(), re.MULTILINE)
    assert [name for name, *_ in rows] == list(alerts())
    assert all(meaning.strip() and remedy.strip() for _, meaning, remedy in rows)


def test_every_alert_is_tested_when_it_fires_and_when_all_is_well() -> None:
    tests = yaml.safe_load((FOLDER / "prometheus" / "tests" / "millrace.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    fired = [check["alertname"] for check in checks if check.get("exp_alerts")]
    quiet = [check["alertname"] for check in checks if not check.get("exp_alerts")]
    assert fired == quiet == list(alerts())


def test_no_two_metrics_share_a_name() -> None:
    names = [spec.name for specs in SERVICES.values() for spec in specs]
    assert len(names) == len(set(names))
