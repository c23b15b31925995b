"""What the loop has done, and how far the stream may go."""

from datetime import UTC, datetime, timedelta

import pytest

from examples.weather.bars import bars
from examples.weather.days import time_of
from examples.weather.loop import ALERT_DAYS, CALM_DAYS, Kind, Loop
from examples.weather.tally import Answer, Tally
from millrace.client.audits import Audit, AuditAlert, Coverage, Span
from millrace.core.audit.decisions import RetrainReason
from millrace.process.retraining import Failed, Promoted, RequestData, Requested, RequestTrigger

YEAR = timedelta(days=365)


def at(day: int) -> datetime:
    return datetime.fromtimestamp(time_of(day) / 1000, UTC)


def report(*, until: int) -> Audit:
    window = Span(at(until) - YEAR, at(until), YEAR // timedelta(seconds=1))
    return Audit("id", "rain", 1, "*", window, "closed", 0, {}, Coverage(1.0), {}, (), (), {})


def alert(feature: str, *, day: int, state: str = "raised", version: int = 1) -> AuditAlert:
    assert state in {"raised", "cleared"}
    return AuditAlert(
        id=f"{feature}-{day}",
        state="raised" if state == "raised" else "cleared",
        signal="drift",
        deployment="rain",
        model="rain",
        version=version,
        feature=feature,
        metric="js",
        windows=(at(day) - YEAR,),
        effect=0.3,
        log_evidence=40.0,
        report_ids=(),
    )


def request(*, day: int, loop_id: str = "one", version: int = 1) -> Requested:
    return Requested(
        loop_id=loop_id,
        model="rain",
        version=version,
        id=f"request-{loop_id}",
        reason=RetrainReason.PERFORMANCE,
        trigger=RequestTrigger(signal="error_rate", baseline=0.19, observed=0.44),
        data=RequestData.model_validate({"from": at(day) - YEAR, "to": at(day)}),
        not_before=at(day),
        expires=at(day) + timedelta(days=7),
    )


def promoted(loop_id: str = "one") -> Promoted:
    return Promoted(loop_id=loop_id, model="rain", version=1, at=at(19_000), candidate=2, why="better")


def busy_loop() -> Loop:
    """An alert, a request and its answer."""
    loop = Loop(4_000, 365)
    loop.add_alert(alert("sea_level_pressure", day=5_500))
    loop.add_record(request(day=6_000))
    loop.add_record(promoted())
    return loop


def test_the_stream_stays_near_the_reports_for_a_year_after_an_alert() -> None:
    loop = Loop(4_000, 365)
    assert loop.reach(4_000) == 4_000 + CALM_DAYS
    loop.add_report(report(until=5_000))
    assert loop.reach(4_000) == 5_000 + CALM_DAYS
    loop.add_alert(alert("visibility", day=5_000))
    assert loop.reach(4_000) == 5_000 + ALERT_DAYS
    loop.add_report(report(until=5_365))
    assert loop.reach(4_000) == 5_365 + ALERT_DAYS
    loop.add_report(report(until=5_438))
    assert loop.reach(4_000) == 5_438 + CALM_DAYS


def test_the_stream_stands_still_while_a_request_is_open() -> None:
    loop = Loop(4_000, 365)
    loop.add_record(request(day=6_000))
    assert loop.is_asking
    assert loop.reach(6_123) == 6_123
    loop.add_record(promoted("of another model"))
    assert loop.is_asking
    loop.add_record(Failed(loop_id="one", model="rain", version=1, at=at(19_000), why="no luck"))
    assert not loop.is_asking


def test_an_old_report_takes_nothing_back() -> None:
    loop = Loop(4_000, 365)
    for until in (5_000, 4_900):
        loop.add_report(report(until=until))
    assert loop.audited == 5_000


def test_an_alert_is_of_the_end_of_its_window_and_names_what_was_raised() -> None:
    loop = Loop(4_000, 365)
    loop.add_alert(alert("visibility", day=5_000, state="cleared"))
    for name in ("dew_point", "sea_level_pressure"):
        loop.add_alert(alert(name, day=5_500))
    loop.add_alert(alert("sea_level_pressure", day=7_000, version=2))
    assert loop.first_named("visibility") is None
    assert loop.first_named("sea_level_pressure") == 5_500
    assert loop.named_on(5_500) == ("dew_point", "sea_level_pressure")
    assert [each.what for each in loop.happenings] == [
        "drift of dew_point, sea_level_pressure",
        "version 2, drift of sea_level_pressure",
    ]


def test_what_happened_is_told_by_day_and_in_the_order_of_the_log() -> None:
    told = [(each.day, each.kind) for each in busy_loop().happenings]
    assert told == [(5_500, Kind.ALERT), (6_000, Kind.REQUEST), (6_000, Kind.PROMOTION)]


def test_what_led_to_a_request_stays_in_sight() -> None:
    loop = Loop(4_000, 365)
    for day in (4_500, 5_700, 6_100, 6_200, 6_300):
        loop.add_alert(alert("visibility", day=day))
    loop.add_record(request(day=6_000))
    loop.add_record(promoted())
    assert [each.day for each in loop.news(4)] == [5_700, 6_000, 6_000, 6_300]
    assert loop.news(99) == loop.happenings
    assert len(loop.news(2)) == 2


def tally(*, accuracy: float, second: int) -> Tally:
    """Of the days from 13,000 on so many are right; version 2 predicts from this day on."""
    found = Tally(12_000, 14_000)
    for day in range(12_000, 14_000):
        found.add_truth(day, "rain" if day < 13_000 + 1_000 * accuracy else "dry")
        found.add_answer(Answer(day, "rain", 0.8, 2 if day >= second else 1, 10, 0.0))
    return found


@pytest.mark.parametrize(
    ("named", "asked", "second", "accuracy", "met"),
    [
        (12_118, 12_339, 12_400, 0.75, [True, True, True, True]),
        (12_118, 11_899, 12_400, 0.75, [False, True, True, True]),
        (12_151, 12_339, 12_400, 0.75, [True, False, True, True]),
        (5_000, 12_339, 12_400, 0.75, [True, False, True, True]),
        (12_118, 12_339, 12_601, 0.75, [True, True, False, True]),
        (12_118, 12_339, 12_400, 0.71, [True, True, True, False]),
    ],
)
def test_every_bar_can_be_missed(*, named: int, asked: int, second: int, accuracy: float, met: list[bool]) -> None:
    loop = Loop(4_000, 365)
    loop.add_alert(alert("sea_level_pressure", day=named))
    loop.add_record(request(day=asked))
    assert [bar.is_met for bar in bars(loop, tally(accuracy=accuracy, second=second))] == met


def test_a_loop_that_does_nothing_meets_no_bar() -> None:
    assert not any(bar.is_met for bar in bars(Loop(4_000, 365), Tally(4_000, 14_000)))
