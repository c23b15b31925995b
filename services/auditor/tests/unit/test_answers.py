"""The ends of loops out of the log of retrain requests."""

from datetime import UTC, datetime

import pytest

from millrace.core.audit.windows import NO_TIME
from millrace.process.retraining import LoopAnswer, Noted, Promoted, Refused, Requested, write_loop_record
from millrace_auditor.logic.answers import ends_heard, ends_noted, note, read_answers
from millrace_auditor.logic.judge import LoopEnd

AT = datetime(2026, 3, 1, tzinfo=UTC)


def requested(loop_id: str, deployment: str = "rain") -> Requested:
    day = AT.isoformat()
    return Requested.model_validate_json(
        f'{{"loop_id": "{loop_id}", "model": "weather", "version": 1, "id": "i", "deployment": "{deployment}",'
        f'"reason": "volume", "trigger": {{"signal": "volume"}}, "data": {{"from": "{day}", "to": "{day}"}},'
        f'"not_before": "{day}", "expires": "{day}"}}'
    )


def promoted(loop_id: str) -> Promoted:
    return Promoted(loop_id=loop_id, model="weather", version=1, at=AT, candidate=2, why="better")


def refused(loop_id: str) -> Refused:
    return Refused(loop_id=loop_id, model="weather", version=1, at=AT, why="worse")


def written(*records: Requested | LoopAnswer) -> list[bytes | None]:
    return list(map(write_loop_record, records))


def test_only_ends_are_heard() -> None:
    records = read_answers(written(requested("a"), promoted("a"), refused("b")))
    assert ends_heard(records, 5) == [LoopEnd(5, "a", 1, 2), LoopEnd(5, "b", 1)]


def test_what_was_noted_comes_back_with_its_event_time() -> None:
    end = LoopEnd(1_600_000_000_123, "a", 1, 2)
    [noted] = read_answers([note(end, model="weather", deployment="rain")])
    assert isinstance(noted, Noted)
    assert ends_noted([requested("a"), promoted("a"), noted], "rain") == [end]


def test_an_end_that_was_never_noted_counts_from_before_all_time() -> None:
    assert ends_noted([requested("a"), refused("a")], "rain") == [LoopEnd(NO_TIME, "a", 1)]


def test_loops_of_others_count_where_they_were_noted() -> None:
    by_hand = requested("b", deployment="snow")
    end = LoopEnd(7, "b", 1, 2)
    [noted] = read_answers([note(end, model="weather", deployment="rain")])
    assert ends_noted([by_hand, promoted("b")], "rain") == []
    assert ends_noted([by_hand, promoted("b"), noted], "rain") == [end]
    assert ends_noted([by_hand, promoted("b"), noted], "hail") == []


@pytest.mark.parametrize("value", [None, b"", b"{}", b"no json"])
def test_what_is_no_record_of_a_loop_is_passed_over(value: bytes | None) -> None:
    assert read_answers([value, *written(refused("a"))]) == [refused("a")]
