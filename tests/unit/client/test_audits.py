"""Reports and alerts as a program reads them."""

from dataclasses import replace
from pathlib import Path

import pytest

from millrace.client.audits import LabelHorizon, newest_reports, open_alerts, read_alert, read_audit
from millrace.core.errors import InvalidRecordError
from tests.unit.client.report.story import alert, audit

EXAMPLES = Path(__file__).parents[3] / "schemas"


def test_a_report_is_read_with_its_evidence_and_its_reference() -> None:
    read = read_audit((EXAMPLES / "audits/v1/examples/valid/mature.json").read_bytes())
    evidence = read.evidence_of("drift")
    assert evidence is not None
    assert evidence.threshold == 1000.0
    assert read.evidence_of("error_rate") is None
    assert read.reference is not None
    assert read.label_horizon == LabelHorizon(60, assumed=False)
    assert (read.reference.rows, read.reference.baseline_learnt) == (20_000, False)


def test_an_alert_is_read_with_the_threshold_that_was_reached() -> None:
    assert read_alert((EXAMPLES / "alerts/v1/examples/valid/drift.json").read_bytes()).threshold == 1000.0


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(InvalidRecordError, match="this is no Audit"):
        read_audit(b"{}")


def test_a_window_is_shown_as_it_was_reported_last() -> None:
    again = replace(audit(0, 0.9), id="again", revision=2)
    reports = [audit(1, 0.7), audit(0, 0.8), again]
    assert [each.id for each in newest_reports(reports)] == ["again", "report-1"]


def test_only_alerts_that_were_not_cleared_are_open() -> None:
    changes = [alert(1, "raised"), alert(1, "raised", feature="wind"), alert(2, "cleared", feature="wind")]
    assert open_alerts(changes) == changes[:1]
    assert open_alerts([*changes, alert(3, "escalated")]) == [alert(3, "escalated")]


def test_an_alert_about_a_version_that_scores_no_more_is_not_open() -> None:
    changes = [alert(1, "raised"), replace(alert(2, "raised"), version=2)]
    first, both, second = audit(0, 0.9), replace(audit(1, 0.9), version=2), replace(audit(2, 0.9), version=2)
    assert open_alerts(changes, [first, audit(1, 0.9), both]) == changes, "one is tried beside the other"
    assert open_alerts(changes, [first, audit(1, 0.9), both, second]) == changes[1:]
    assert open_alerts(changes, [second, audit(3, 0.9)]) == changes[:1], "rolled back, it stands open again"
