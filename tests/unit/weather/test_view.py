"""What is shown is what is known, in a fixed width."""

import doctest
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from examples.weather import chart, replay
from examples.weather.picture import write_picture
from examples.weather.tally import Answer, Tally
from examples.weather.view import WIDTH, line, panel


def tally(days: int, *, right_until: int) -> Tally:
    found = Tally(4_000, 8_000)
    for day in range(4_000, 4_000 + days):
        found.add_answer(Answer(day, "dry", 0.75, 20, 0.0))
        found.add_truth(day, "dry" if day < right_until or day % 2 else "rain")
    found.add_dead_letter("truncated")
    return found


def drawn(found: Tally) -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(panel(found.snapshot(sent=2_001, now_secs=1.0)))
    return console.export_text()


@pytest.mark.parametrize("days", [0, 10, 400, 4_000])
def test_the_panel_keeps_its_width(days: int) -> None:
    lines = drawn(tally(days, right_until=9_999)).splitlines()
    assert {len(one) for one in lines} == {WIDTH}


def test_a_fall_is_marked_on_its_day() -> None:
    found = tally(3_000, right_until=6_000)
    fall = found.snapshot(sent=0, now_secs=0.0).fall
    assert fall is not None
    assert f"it fell: day {fall.day:,}" in drawn(found)
    assert "it fell" not in drawn(tally(3_000, right_until=9_999))


def test_a_mark_near_the_end_stays_inside() -> None:
    assert {len(one) for one in drawn(tally(4_000, right_until=7_900)).splitlines()} == {WIDTH}


def test_a_plain_line_has_every_number() -> None:
    said = line(tally(3_000, right_until=6_000).snapshot(sent=3_001, now_secs=1.0))
    for part in ("3,001", "3,000", "dead letters 1", "p50 20 ms", "accuracy"):
        assert part in said


def test_before_the_first_prediction_nothing_is_claimed() -> None:
    assert "accuracy" not in line(Tally(0, 10).snapshot(sent=0, now_secs=0.0))


def test_the_picture_is_valid_and_small(tmp_path: Path) -> None:
    file = tmp_path / "demo.svg"
    write_picture(tally(3_000, right_until=6_000).snapshot(sent=3_001, now_secs=1.0), file)
    assert ET.parse(file).getroot().tag.endswith("svg")  # noqa: S314 -- our own file
    assert file.stat().st_size < 60_000


@pytest.mark.parametrize("module", [chart, replay])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    failed, tried = doctest.testmod(module, extraglobs={"np": np})  # type: ignore[arg-type]
    assert tried > 0
    assert failed == 0
