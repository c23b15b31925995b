"""The report's own arithmetic: counts, coverage, quality, and how figures are written."""

import json
import math

import numpy as np
import pytest

from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane, count_labels, count_predictions, read_digits
from millrace.core.audit.report import QualityLimits, check_quality, count, cover, figure, iso
from millrace.core.audit.windows import NO_TIME, Stage
from millrace.core.profile import CategoryCells, NumericCells
from millrace.core.signature import Task
from tests.unit.audit.test_pane import labelled, one_group
from tests.unit.audit.test_watch import closed_windows

INCOME = NumericCells("income", (0.0, 1.0), 2.0, (0, 0, 5, 5, 0))
CITY = CategoryCells("city", ("a",), (), (5, 5, 0, 0))
LAYOUT = Layout(Task.BINARY, ("no", "yes"), (INCOME, CITY))


def window(bins: list[bytes], *, labelled_rows: int = 0) -> Pane:
    scores = np.linspace(0.0, 0.999, len(bins))
    [pane] = count_predictions(LAYOUT, scores[:, None], read_digits(bins, 2), one_group(len(bins)), 1)
    columns = labelled([1.0] * labelled_rows, scores[:labelled_rows].tolist(), delays=[60_000] * labelled_rows)
    return pane + count_labels(LAYOUT, columns, one_group(labelled_rows), 1)[0]


def test_what_has_no_label_awaits_one_until_the_window_is_mature() -> None:
    pane = window([b"21"] * 10, labelled_rows=4)
    closed, mature = count(pane, Stage.CLOSED), count(pane, Stage.MATURE)
    assert (closed["awaiting"], closed["expired_unlabelled"]) == (6, 0)
    assert (mature["awaiting"], mature["expired_unlabelled"]) == (0, 6)


def test_coverage_shows_labels_that_are_selected_by_score() -> None:
    coverage = cover(window([b"21"] * 100, labelled_rows=50))
    assert coverage.overall == 0.5
    assert coverage.by_score_bin[0] == 1.0
    assert coverage.by_score_bin_min == 0.0
    assert coverage.median_label_delay_s is not None
    assert 45 <= coverage.median_label_delay_s <= 60


def test_an_empty_window_has_coverage_of_nothing() -> None:
    coverage = cover(Pane.empty(LAYOUT))
    assert (coverage.overall, coverage.by_score_bin_min, coverage.median_label_delay_s) == (0.0, None, None)
    assert check_quality(Pane.empty(LAYOUT), QualityLimits()) == []


@pytest.mark.parametrize(
    ("bins", "broken"),
    [
        ([b"21"] * 10, []),
        ([b"01"] * 10, [("income", "completeness")]),
        ([b"41"] * 9 + [b"21"], [("income", "in_range")]),
        ([b"23"] * 10, [("city", "known")]),
        ([b"2"] * 10, [("*", "readable")]),
        ([b"20"] * 5 + [b"21"] * 5, []),
    ],
    ids=["good", "nulls", "wrong unit", "unseen", "unreadable", "as many nulls as in the reference"],
)
def test_broken_data_is_named(bins: list[bytes], broken: list[tuple[str, str]]) -> None:
    checks = check_quality(window(bins), QualityLimits())
    assert [(check.feature, check.check) for check in checks if not check.is_ok] == broken


def test_a_window_with_too_little_in_it_is_broken() -> None:
    limits = QualityLimits(predictions=5)
    for pane in (Pane.empty(LAYOUT), window([b"21"] * 4)):
        assert [check.check for check in check_quality(pane, limits) if not check.is_ok] == ["volume"]


def test_figures_and_times_are_written_for_machines() -> None:
    assert figure(1 / 3) == 0.333333333333
    assert figure(math.inf) is None
    assert figure(math.nan) is None
    assert iso(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert iso(NO_TIME) == ""


def test_a_report_is_json_with_the_agreed_fields() -> None:
    document = json.loads(closed_windows(income_shift=3)[10].report.to_json())
    assert {"counts", "coverage", "performance", "estimate", "drift", "quality", "reference", "inputs"} <= set(document)
    assert document["stage"] == "closed"
    assert document["drift"][0]["feature"] == "income"
    assert document["reference"]["id"].startswith("sha256:")
