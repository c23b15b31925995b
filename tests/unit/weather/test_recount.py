"""The recount agrees only when every record had exactly one fate."""

from examples.weather.recount import Recount, recount
from millrace.core.records import Coordinates


def places(*offsets: int) -> list[Coordinates]:
    return [Coordinates("weather.features", 0, offset) for offset in offsets]


def test_one_fate_for_each_record() -> None:
    counted = recount(places(0, 1, 2), places(0, 2), places(1))
    assert counted == Recount(records=3, predictions=2, dead_letters=1, lost=0, duplicated=0, strangers=0)
    assert counted.agrees


def test_a_lost_record_is_seen() -> None:
    counted = recount(places(0, 1, 2), places(0), places(1))
    assert counted.lost == 1
    assert not counted.agrees


def test_a_repeated_prediction_is_seen() -> None:
    counted = recount(places(0, 1), places(0, 0, 0, 1), [])
    assert counted.duplicated == 2
    assert not counted.agrees


def test_a_record_with_both_fates_is_seen() -> None:
    assert recount(places(0), places(0), places(0)).duplicated == 1


def test_a_prediction_of_nothing_is_seen() -> None:
    counted = recount(places(0), places(0, 7), [])
    assert counted.strangers == 1
    assert not counted.agrees
