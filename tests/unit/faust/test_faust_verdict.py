"""The checker of the Faust experiment finds what it is there to find."""

from tests.faust.plan import Plan
from tests.faust.verdict import Evidence, Report, Verdict, expect, judge

EVIDENCE = [
    Evidence((0, 0), "1/*/0", 0, 10),
    Evidence((0, 1), "1/*/0", 1, 5),
    Evidence((0, 2), "1/*/0", 0, 7),
    Evidence((1, 0), "1/*/60000", 0, 1),
]
REPORTS = [Report((0, 0), 10, 1), Report((0, 1), 15, 2), Report((0, 2), 12, 3), Report((1, 0), 1, 1)]
CLEAN = Verdict(0, 0, 0, 0)


def test_a_shard_is_set_and_its_pane_added_up() -> None:
    assert expect(EVIDENCE) == {report.source: report for report in REPORTS}


def test_reports_as_they_should_be_are_clean_in_any_order_of_partitions() -> None:
    assert judge(REPORTS, EVIDENCE) == CLEAN
    assert judge(reversed(REPORTS), EVIDENCE) == CLEAN
    assert CLEAN.is_clean


def test_a_missing_report_and_one_too_many_are_found() -> None:
    assert judge(REPORTS[1:], EVIDENCE) == Verdict(1, 0, 0, 0)
    again = Report((0, 1), 15, 2)
    assert judge([*REPORTS, again], EVIDENCE) == Verdict(0, 1, 0, 0)


def test_a_stale_entry_shows_in_the_sum_and_a_replayed_record_in_the_count() -> None:
    stale = [Report((0, 1), 5, 2) if report.source == (0, 1) else report for report in REPORTS]
    assert judge(stale, EVIDENCE) == Verdict(0, 0, 1, 0)
    replayed = [*REPORTS[:2], Report((0, 2), 12, 4), REPORTS[3]]
    assert judge(replayed, EVIDENCE) == Verdict(0, 0, 0, 1)


def test_a_plan_is_the_same_for_a_seed_and_waits_for_the_last_recovery() -> None:
    strikes = Plan(7).strikes()
    assert strikes == Plan(7).strikes() != Plan(8).strikes()
    assert len(strikes) == 10
    assert strikes[-1].waits
    assert sum(not strike.waits for strike in strikes) == 3
