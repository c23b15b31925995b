"""What the page says, before anything is drawn."""

from dataclasses import replace
from datetime import timedelta

import pytest

from millrace.client.audits import Coverage, Figure, LabelHorizon, QualityCheck, Reference
from millrace.client.report import Material, compose
from millrace.client.report.model import Chart, Heat, Look, Page, Section
from tests.unit.client.report.story import FEATURES, HORIZON, WINDOWS, accuracy, audit, day, material, requested


def section(page: Page, name: str) -> Section:
    return next(each for each in page.sections if each.name == name)


def chart(page: Page, name: str) -> Chart:
    return next(each for each in section(page, name).pictures if isinstance(each, Chart))


def words(page: Page, name: str) -> str:
    return " ".join(section(page, name).text)


@pytest.fixture(scope="module")
def page() -> Page:
    return compose(material())


def test_it_leads_with_what_is_in_force_and_how_good_it_is(page: Page) -> None:
    assert page.lead == (
        "weather/2 is in force. "
        f"In the newest mature window it has accuracy {accuracy(28):.3f}, 0.800 on the reference. "
        "Open: 1 alert, about sea_level_pressure."
    )
    tiles = {tile.name: (tile.value, tile.note) for tile in page.tiles}
    assert tiles["accuracy"] == (f"{accuracy(28):.3f}", f"{accuracy(28) - 0.03:.3f} to {accuracy(28) + 0.03:.3f}")
    assert tiles["on the reference"] == ("0.800", "from the bundle")
    assert tiles["predictions"] == ("21,600", "30 windows of 30 d")
    assert tiles["labelled"] == ("97 %", "of mature windows")
    assert tiles["open alerts"] == ("1", "sea_level_pressure")


def test_performance_is_a_line_a_version_with_its_interval(page: Page) -> None:
    first, second = chart(page, "performance").panels[0].lines
    assert (first.name, second.name) == ("v1", "v2")
    assert [len(first.points), len(second.points)] == [20, 10]
    point = first.points[3]
    assert point.at == day(4)
    assert [point.lo, point.value, point.hi] == [accuracy(3) - 0.03, accuracy(3), accuracy(3) + 0.03]
    assert first.tone is not second.tone


def test_windows_that_wait_for_labels_and_amended_ones_are_told_apart(page: Page) -> None:
    looks = [point.look for line in chart(page, "performance").panels[0].lines for point in line.points]
    expected = [Look.FINAL] * WINDOWS
    expected[5], expected[-1] = Look.AMENDED, Look.OPEN
    assert looks == expected


def test_the_words_name_window_horizon_baseline_and_false_alarm_rate(page: Page) -> None:
    said = words(page, "performance")
    for part in (
        "window of 30 d",
        "waited for 7 d",
        "that of the model's bundle",
        "once in 10,000 panes",
        "10 % above",
    ):
        assert part in said
    drift = words(page, "drift")
    for part in ("0.050 (the default", "30,000 rows", "evidence of 1,000", "once in 1,000 windows"):
        assert part in drift
    assert "7 d of event time after its end, the label horizon" in words(page, "reading")


def test_a_horizon_that_nobody_declared_is_called_an_assumption(page: Page) -> None:
    assert "assumption" not in words(page, "reading")
    assumed = tuple(replace(a, label_horizon=LabelHorizon(86_400.0, assumed=True)) for a in material().audits)
    said = words(compose(material(audits=assumed)), "reading")
    assert "mature 1 d of event time after its end" in said
    assert "it is an assumption" in said


def test_overlapping_windows_say_how_often_there_is_a_new_one() -> None:
    audits = [audit(window, 0.8) for window in range(3)]
    longer = [
        replace(a, window=replace(a.window, start=a.window.start - timedelta(days=60), size_s=90 * 86_400))
        for a in audits
    ]
    page = compose(material(audits=tuple(longer)))
    assert "One point a window of 90 d, a new one every 30 d" in words(page, "performance")
    [heat] = [each for each in section(page, "drift").pictures if isinstance(each, Heat)]
    assert [(end - start).days for start, end in heat.columns] == [90, 30, 30]
    counted = next(tile for tile in page.tiles if tile.name == "predictions")
    assert (counted.value, counted.note) == ("720", "3 windows of 90 d, overlapping")


def test_a_learnt_baseline_says_so_and_one_that_is_being_learnt_too() -> None:
    learnt = tuple(replace(a, reference=Reference(None, 0, True, 5)) for a in material().audits)  # noqa: FBT003
    page = compose(material(audits=learnt))
    assert "The baseline is learnt from the first mature windows" in words(page, "performance")
    assert "no reference profile, so there is no drift" in words(page, "reading")
    learning = tuple(replace(a, evidence=(), reference=Reference(None, 0, False, 2)) for a in learnt)  # noqa: FBT003
    page = compose(material(audits=learning))
    assert "still being learnt" in words(page, "performance")
    assert "so far 2 windows" in words(page, "reading")
    assert chart(page, "performance").panels[0].rules == ()


def test_a_small_reference_asks_for_ten_times_the_evidence_for_the_same_rate() -> None:
    small = tuple(replace(a, reference=Reference("sha256:1a", 7_200, False, 0)) for a in material().audits)  # noqa: FBT003
    said = words(compose(material(audits=small)), "drift")
    assert "evidence of 1,000" in said
    assert "once in 100 windows" in said
    assert "ten times over" in said


def test_the_estimate_stands_beside_the_measured_value(page: Page) -> None:
    measured, estimated = chart(page, "estimate").panels[0].lines
    assert estimated.dashed
    assert not measured.dashed
    assert {point.value for point in estimated.points} == {0.8}
    largest = max(abs(accuracy(window) - 0.8) for window in range(WINDOWS - 1))
    assert f"largest distance between the two is {largest:.3f}" in words(page, "estimate")


def test_drift_has_a_row_a_feature_the_largest_first_and_lines_for_the_top(page: Page) -> None:
    heat, lines = section(page, "drift").pictures
    assert isinstance(heat, Heat)
    assert isinstance(lines, Chart)
    assert heat.rows[:2] == FEATURES[:2]
    assert set(heat.rows) == set(FEATURES)
    assert len(heat.columns) == WINDOWS
    hot = [number for number, value in enumerate(heat.cells[0]) if value is not None and value >= heat.floor]
    assert hot == list(range(14, 20))
    assert [line.name for line in lines.panels[0].lines] == list(heat.rows[:4])
    assert lines.panels[0].rules[0].value == heat.floor == 0.05
    assert "sea_level_pressure reaches 0.4" in heat.alt


def test_a_missing_window_interrupts_lines_and_leaves_a_column_empty() -> None:
    audits = tuple(a for number, a in enumerate(material().audits) if number not in {3, 4})
    page = compose(material(audits=audits))
    points = chart(page, "performance").panels[0].lines[0].points
    assert [point.value is None for point in points[:5]] == [False, False, False, True, False]
    [heat] = [each for each in section(page, "drift").pictures if isinstance(each, Heat)]
    assert heat.columns[3] == (day(3), day(5))
    assert [row[3] for row in heat.cells] == [None] * len(FEATURES)


def test_labels_show_their_share_and_their_delay_against_the_horizon(page: Page) -> None:
    covered, delay = chart(page, "labels").panels
    assert covered.lines[0].points[-1].value == 0.3
    assert covered.lines[0].points[-1].look is Look.OPEN
    assert delay.rules[0].value == HORIZON.total_seconds()


def test_only_checks_that_fail_are_drawn_and_all_are_in_the_table(page: Page) -> None:
    quality = section(page, "quality")
    [heat] = quality.pictures
    assert isinstance(heat, Heat)
    assert heat.rows == ("humidity: completeness",)
    assert [number for number, value in enumerate(heat.cells[0]) if value is not None] == [9]
    assert quality.table is not None
    assert quality.table.rows == (
        ("humidity: completeness", "1", "0.400", "0.950"),
        ("readable", "0", "1.000", "0.990"),
    )


def test_data_without_fault_needs_no_picture() -> None:
    sound = tuple(replace(a, quality=(QualityCheck("*", "readable", 1.0, 0.99, ok=True),)) for a in material().audits)
    quality = section(compose(material(audits=sound)), "quality")
    assert quality.pictures == ()
    assert quality.text[0].startswith("All 1 check held in all 30 windows.")


def test_every_loop_says_why_it_was_asked_what_came_of_it_and_since_when(page: Page) -> None:
    table = section(page, "retraining").table
    assert table is not None
    promoted, refused = table.rows
    assert promoted[:2] == ("2f6f6f2e", "v1")
    assert promoted[2] == f"{day(19):%Y-%m-%d %H:%M}: performance, error rate 0.450 against 0.200"
    assert promoted[4].startswith(
        "accuracy 0.770 (0.740 to 0.800) against 0.550 (0.520 to 0.580) on 2,053 later records"
    )
    assert promoted[5].startswith("v2 promoted 2026-03-01 12:00: the candidate is better")
    assert promoted[6] == f"{day(20):%Y-%m-%d}"
    assert refused[5] == "refused 2026-03-01 12:00: the candidate is not better"
    assert refused[6] == "–"


def test_an_open_request_and_one_that_is_at_work() -> None:
    page = compose(material(loops=material().loops[:2]))
    table = section(page, "retraining").table
    assert table is not None
    assert table.rows[0][5] == "at work"
    table = section(compose(material(loops=(requested(15),))), "retraining").table
    assert table is not None
    assert "is the trainer running?" in table.rows[0][5]


def test_nothing_yet_says_what_to_do() -> None:
    page = compose(Material("rain", material().made_at))
    assert "check that a scorer writes predictions and the auditor runs, millrace-auditor --name rain" in page.lead
    assert page.tiles == ()
    assert not any(each.pictures for each in page.sections)


def test_without_labels_profile_alerts_or_requests_each_section_says_what_to_do() -> None:
    bare = replace(audit(0, None), stage="closed", drift=(), quality=(), coverage=Coverage(0.0), estimate=None)
    page = compose(Material("rain", material().made_at, (bare,)))
    assert "No window is mature yet" in page.lead
    assert "Send labels" in section(page, "performance").missing
    assert "exported with labels" in section(page, "estimate").missing
    assert "millrace.serving.export" in section(page, "drift").missing
    assert "millrace retrain weather" in section(page, "retraining").missing
    assert section(page, "alerts").missing == "No alert was ever raised."


def test_a_metric_that_is_not_defined_in_a_window_leaves_a_gap_and_no_headline_where_it_never_is() -> None:
    undefined = replace(audit(1, 0.8), performance={"accuracy": Figure(None, None, None, 0)})
    page = compose(material(audits=(audit(0, 0.8), undefined)))
    assert [point.value for point in chart(page, "performance").panels[0].lines[0].points] == [0.8, None]
    assert "it has accuracy 0.800" in page.lead
    assert section(compose(material(audits=(undefined,))), "performance").missing


def test_a_canary_that_alone_has_labels_is_shown() -> None:
    canary = replace(audit(0, 0.9, version=2), counts={"predictions": 70, "labelled": 70})
    page = compose(material(audits=(audit(0, None), canary), alerts=(), loops=()))
    assert [line.name for line in chart(page, "performance").panels[0].lines] == ["v2"]
    assert page.lead.startswith("weather/1 is in force.")


def test_older_reports_that_are_left_out_are_mentioned() -> None:
    assert "12 older reports left out." in words(compose(material(left_out=12)), "reading")


def test_every_change_of_an_alert_is_in_the_table(page: Page) -> None:
    table = section(page, "alerts").table
    assert table is not None
    assert len(table.rows) == len(material().alerts)
    assert table.rows[0][1:5] == ("cleared", "drift", "weather/1", "dew_point")
    assert "4 alerts raised, 1 alert open." in words(page, "alerts")


def test_a_regression_leads_with_its_error_and_its_own_baseline() -> None:
    audits = tuple(
        replace(
            a,
            performance={"mae": a.performance["accuracy"], "rmse": a.performance["accuracy"]},
            evidence=(replace(a.evidence[0], signal="mae", baseline=0.7),),
        )
        for a in material().audits
    )
    page = compose(material(audits=audits))
    panel = chart(page, "performance").panels[0]
    assert (panel.title, panel.rules[0].value) == ("Mean absolute error", 0.7)


def test_a_version_without_a_mature_window_does_not_take_credit_for_the_one_before() -> None:
    waiting = tuple(replace(a, stage="closed") if a.version == 2 else a for a in material().audits)
    page = compose(material(audits=waiting))
    assert "weather/2 is in force. No window of it is mature yet" in page.lead
    assert f"in the newest mature window version 1 had accuracy {accuracy(19):.3f}." in page.lead
