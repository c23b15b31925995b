"""How audits look."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from millrace.cli.audit import chart, overview
from millrace.client import Audit, AuditAlert
from millrace.client.audits import Coverage, DriftOfFeature, Figure, Span
from tests.unit.cli.test_views import shown

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def report(hour: int, accuracy: float, *, revision: int = 1) -> Audit:
    start = NOON + timedelta(hours=hour)
    return Audit(
        id=f"{hour}-{revision}",
        model="weather",
        version=3,
        segment="*",
        window=Span(start, start + timedelta(hours=1), 3600),
        stage="mature",
        revision=revision,
        counts={"predictions": 1200, "labelled": 600},
        coverage=Coverage(0.5),
        performance={"accuracy": Figure(accuracy, accuracy - 0.02, accuracy + 0.02, 600)},
        drift=(DriftOfFeature("sea_level_pressure", 0.3, 0.25, 40.0),),
        quality=(),
        inputs={},
    )


def alert(state: str, feature: str = "sea_level_pressure") -> AuditAlert:
    raised = AuditAlert(
        "1", "raised", "drift", "rain", "weather", 3, feature, "js", (NOON,), 0.25, 40.0, ("0-1",), "look at the sensor"
    )
    return replace(raised, state=state)  # type: ignore[arg-type]


def test_an_overview_has_a_chart_a_line_a_window_and_the_open_alerts() -> None:
    lines = shown(overview([report(0, 0.8), report(1, 0.6)], [alert("raised")]), width=120)
    assert lines[0] == "accuracy █▁ 0.600"
    row = "2026-01-01 12:00 3 mature 1,200 50% 0.800 (0.780 to 0.820) sea_level_pressure 0.250"
    assert " ".join(lines[2].split()) == row
    assert lines[-1] == "raised drift sea_level_pressure js, effect 0.25, window 2026-01-01 12:00: look at the sensor"


def test_equal_values_chart_level() -> None:
    assert chart([0.5, 0.5]) == "▄▄"
