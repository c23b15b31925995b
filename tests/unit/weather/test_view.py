"""What is shown is what is known, in a fixed width."""

import doctest
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from examples.weather import chart
from examples.weather.loop import Loop
from examples.weather.picture import write_chart, write_picture
from examples.weather.tally import Answer, Tally
from examples.weather.view import WIDTH, line, panel
from tests.unit.weather.test_loop import busy_loop, request


def tally(days: int, *, right_until: int) -> Tally:
    found = Tally(4_000, 8_000)
    for day in range(4_000, 4_000 + days):
        found.add_answer(Answer(day, "dry", 0.75, 1, 20, 0.0))
        found.add_frozen(day, "dry")
        found.add_truth(day, "dry" if day < right_until or day % 2 else "rain")
    found.add_dead_letter("truncated")
    return found


def drawn(found: Tally, loop: Loop | None = None) -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(panel(found.snapshot(sent=2_001, now_secs=1.0), loop or Loop(4_000, 365)))
    return console.export_text()


@pytest.mark.parametrize("days", [0, 10, 400, 4_000])
def test_the_panel_keeps_its_width(days: int) -> None:
    lines = drawn(tally(days, right_until=9_999)).splitlines()
    assert {len(one) for one in lines} == {WIDTH}


def test_what_the_loop_does_is_told_and_marked_below_the_chart() -> None:
    found = tally(4_000, right_until=6_000)
    quiet, busy = drawn(found), drawn(found, busy_loop())
    assert {len(one) for one in busy.splitlines()} == {WIDTH}
    for words in (
        "drift of sea_level_pressure",
        "asks for a better version",
        "version 2 becomes the champion",
    ):
        assert words in busy
        assert words not in quiet
    [marks] = [one for one in busy.splitlines() if "★" in one and "day" not in one]
    assert marks.strip(" │").split() == ["!", "★"]  # the request is on the spot of its answer
    assert "the stream waits" not in busy


def test_an_open_request_is_said_to_hold_the_stream() -> None:
    loop = Loop(4_000, 365)
    loop.add_record(request(day=6_000))
    assert "the stream waits for the trainer" in drawn(tally(2_000, right_until=6_000), loop)


def test_a_plain_line_has_every_number() -> None:
    said = line(tally(3_000, right_until=6_000).snapshot(sent=3_001, now_secs=1.0))
    for part in ("3,001", "3,000", "dead letters 1", "p50 20 ms", "accuracy"):
        assert part in said


def test_before_the_first_prediction_nothing_is_claimed() -> None:
    assert "accuracy" not in line(Tally(0, 10).snapshot(sent=0, now_secs=0.0))


def test_the_picture_is_valid_and_small(tmp_path: Path) -> None:
    file = tmp_path / "demo.svg"
    write_picture(tally(3_000, right_until=6_000).snapshot(sent=3_001, now_secs=1.0), busy_loop(), file)
    assert ET.parse(file).getroot().tag.endswith("svg")  # noqa: S314 -- our own file
    assert file.stat().st_size < 60_000


def test_the_chart_is_valid_and_small_and_always_the_same(tmp_path: Path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        write_chart(tally(3_000, right_until=6_000).snapshot(sent=3_001, now_secs=1.0), busy_loop(), file)
    assert ET.parse(files[0]).getroot().tag.endswith("svg")  # noqa: S314 -- our own file
    assert files[0].stat().st_size < 150_000
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("module", [chart])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    failed, tried = doctest.testmod(module, extraglobs={"np": np})  # type: ignore[arg-type]
    assert tried > 0
    assert failed == 0
