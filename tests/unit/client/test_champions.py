import pytest

from millrace.client.champions import previous_champion
from millrace.core.errors import RequestError
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.history import HistoryEntry


def moved(version: int, *, alias: str = "champion") -> HistoryEntry:
    after = {MODELS_TOPIC: {f"weather@{alias}": {"kind": "alias", "version": version}}}
    return HistoryEntry("model/weather", "id", 0, "test", "move alias", {}, after)


def pushed(version: int) -> HistoryEntry:
    after = {MODELS_TOPIC: {f"weather/{version}": {"kind": "version", "version": version}}}
    return HistoryEntry("model/weather", "id", 0, "test", "push version", {}, after)


def test_it_is_the_last_other_one_that_was_the_champion() -> None:
    entries = [moved(1), pushed(2), moved(2), pushed(3), moved(3, alias="challenger"), moved(4), moved(4)]
    assert previous_champion(entries, "weather", 4) == 2


def test_rolling_back_twice_returns() -> None:
    assert previous_champion([moved(1), moved(2), moved(1)], "weather", 1) == 2


def test_an_only_champion_cannot_be_rolled_back() -> None:
    with pytest.raises(RequestError, match="no version of weather but 1 ever was the champion"):
        previous_champion([moved(1), pushed(2), moved(2, alias="challenger")], "weather", 1)
