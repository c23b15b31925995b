"""The four answers: what each comes to, and what it rests on."""

from dataclasses import replace
from typing import Any

import pytest
import typer.main

from millrace.cli.app import app
from millrace.core.control.fleet import Assignment, Order, Slot
from millrace_launcher.logic.answers import Answer, Findings, Light, Pace, answer, pace_of, shares_of
from millrace_launcher.logic.status import SlotStatus, State, Status

A, B = Slot("rain", "scorer", 0), Slot("rain", "scorer", 1)
AUDITOR, TRAINER = Slot("rain", "auditor", 0), Slot("rain", "trainer", 0)
WINDOW: dict[str, Any] = {
    "coverage": {"overall": 0.91234},
    "performance": {"accuracy": {"value": 0.95}},
    "window": {"end": "2026-11-01T00:00:00Z"},
}


def slot(which: Slot, state: State = State.READY, *, crashes: int = 0) -> SlotStatus:
    return SlotStatus(which, Assignment(which, Order.RUN, 1, "a", crashes=crashes), None, state, "")


def status(*slots: SlotStatus) -> Status:
    ready = sum(each.state is State.READY for each in slots)
    worst = State.READY if ready == len(slots) else State.STARTING
    why = "" if worst is State.READY else "rain/scorer/1: starting: killed by SIGKILL"
    return Status("rain", worst, why, ready, len(slots), slots)


ALL_WELL = Findings(
    status=status(slot(A), slot(B), slot(AUDITOR), slot(TRAINER)),
    paces={A: Pace(100, lag=3, p99_ms=20), B: Pace(104, lag=2, p99_ms=38), AUDITOR: Pace(90), TRAINER: Pace(0)},
    slo_ms=100,
    labels_topic="rain.labels",
    window=WINDOW,
    endpoints={each: f"http://127.0.0.1:{port}" for port, each in enumerate((A, B, AUDITOR, TRAINER), 1)},
)


def lights(found: Findings) -> str:
    return "".join(each.light[0] for each in answer(found))


def the(found: Findings, words: str) -> Answer:
    [one] = [each for each in answer(found) if words in each.question]
    return one


def test_all_is_well() -> None:
    answers = answer(ALL_WELL)
    assert lights(ALL_WELL) == "gggg"
    assert all(each.says and each.numbers and each.evidence for each in answers)
    assert [each.says for each in answers] == [
        "204 records/s, 5 waiting, p99 38 of 100 ms",
        "all 4 processes are ready, no alert is open, every record is scored",
        "yes: accuracy 0.95, and a trainer answers retrain requests",
        "yes: rain/scorer/0 98%, rain/scorer/1 102% of an even share",
    ]


def test_the_commands_that_show_more_are_commands() -> None:
    commands = getattr(typer.main.get_command(app), "commands", {})
    shown = [line.split()[1] for each in answer(ALL_WELL) for line in each.evidence if line.startswith("millrace ")]
    assert shown
    assert set(shown) <= set(commands)


def test_a_process_that_is_gone_turns_the_second_answer_red() -> None:
    found = replace(ALL_WELL, status=status(slot(A), slot(B, State.STARTING, crashes=1), slot(AUDITOR), slot(TRAINER)))
    failing = the(found, "fails")
    assert (failing.light, failing.numbers["crashes"]) == (Light.RED, 1)
    assert failing.says == "3 of 4 processes are ready: rain/scorer/1: starting: killed by SIGKILL"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (replace(ALL_WELL, paces={A: Pace(100)}), "yggg"),
        (replace(ALL_WELL, paces={}, endpoints={}), "rggy"),
        (replace(ALL_WELL, alerts=("an alert is open: drift of pressure",)), "gygg"),
        (replace(ALL_WELL, paces={**ALL_WELL.paces, B: Pace(104, dead_letter_rate=0.5)}), "gygg"),
        (replace(ALL_WELL, window=None), "ggyg"),
        (replace(ALL_WELL, status=status(slot(A), slot(B), slot(AUDITOR))), "ggyg"),
        (replace(ALL_WELL, status=status(slot(A), slot(B))), "ggyg"),
        (replace(ALL_WELL, paces={**ALL_WELL.paces, B: Pace(60)}), "gggy"),
    ],
)
def test_what_is_not_well_shows(found: Findings, expected: str) -> None:
    assert lights(found) == expected


@pytest.mark.parametrize(("other", "light"), [(86, Light.GREEN), (74, Light.GREEN), (73, Light.YELLOW)])
def test_even_is_within_fifteen_percent(other: float, light: Light) -> None:
    assert the(replace(ALL_WELL, paces={A: Pace(100), B: Pace(other)}), "balanced").light is light


def test_nothing_done_is_no_share() -> None:
    assert shares_of({A: Pace(0), B: Pace(0)}) == {}
    assert shares_of({}) == {}


def test_the_last_minute_counts() -> None:
    series: dict[str, list[float | None]] = {
        "done_rate": [900.0, *[10.0, 20.0] * 6],
        "dead_letter_rate": [0.0] * 13,
        "lag": [*[5.0] * 12, None],
        "p99_ms": [None] * 13,
    }
    assert pace_of(series) == Pace(15.0, 0.0, 5.0, None)
    assert pace_of(dict.fromkeys(series, ())) is None
