"""Positions, selections, and the shared list: the cases that have names."""

import pytest

from millrace.core.errors import RequestError
from millrace_gateway.logic.positions import format_id, is_id, parse_id
from millrace_gateway.logic.recent import Cursor, OvertakenError, Recent
from millrace_gateway.logic.selection import Published, Selection

RAIN = Published(0, 7, b"bern", b"{}", version=3, label="rain", scores={"rain": 0.8, "dry": 0.2})
DEGREES = Published(0, 8, None, b"{}", version=3, value=21.5)


@pytest.mark.parametrize("text", ["", "0", "0:", ":1", "0:1,", "0:1,0:2", "a:1", "0:-1", "0:1 ", "0:1," * 9_000])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="no id"):
        parse_id(text)


def test_ids_are_in_the_order_of_partitions() -> None:
    assert format_id({10: 1, 2: 5}) == "2:5,10:1"
    assert is_id("2:5,10:1")
    assert not is_id("earliest")


@pytest.mark.parametrize(
    ("selection", "rain", "degrees"),
    [
        (Selection(), True, True),
        (Selection(keys=frozenset({b"bern"})), True, False),
        (Selection(version=2), False, False),
        (Selection(min_score=0.8), True, True),
        (Selection(max_score=0.79), False, False),
        (Selection(class_name="dry", max_score=0.5), True, False),
        (Selection(class_name="snow"), False, False),
        (Selection(min_score=20, max_score=22), False, True),
    ],
)
def test_selections(selection: Selection, rain: bool, degrees: bool) -> None:
    assert (selection.has(RAIN), selection.has(DEGREES)) == (rain, degrees)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (float("nan"), 1.0)])
def test_an_empty_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(RequestError, match="no score"):
        Selection(min_score=low, max_score=high)


def test_who_begins_in_the_past_may_not_join_yet() -> None:
    recent = Recent({0: 100})
    cursor = Cursor({0: 99}, Selection())
    assert not cursor.join(recent)
    cursor.pass_on([], {0: 100})  # offset 99 was the mark of a transaction
    assert cursor.join(recent)
    assert cursor.waits(recent)


def test_a_paused_subscriber_keeps_its_place_until_it_is_overtaken() -> None:
    recent = Recent({0: 0}, max_records=2)
    cursor = Cursor({0: 0}, Selection())
    cursor.join(recent)
    recent.add([Published(0, number, None, b"", 1, value=0.0) for number in (0, 1)], {0: 2})
    assert [event.id for event in cursor.take(recent, 1)] == ["0:1"]
    recent.add([Published(0, 2, None, b"", 1, value=0.0)], {0: 3})
    assert [event.id for event in cursor.take(recent, 1)] == ["0:2"]
    recent.add([Published(0, number, None, b"", 1, value=0.0) for number in (3, 4)], {0: 5})
    with pytest.raises(OvertakenError):
        cursor.take(recent, 1)
    assert cursor.id == "0:2"


def test_what_is_left_out_still_moves_the_place() -> None:
    recent = Recent({0: 7})
    cursor = Cursor({0: 7}, Selection(version=9))
    cursor.join(recent)
    recent.add([RAIN, DEGREES], {0: 12})
    assert cursor.take(recent, 10) == []
    assert cursor.id == "0:12"
