"""What of the history somebody wants to see."""

import pytest

from millrace.kafka.history import HistoryEntry
from millrace_launcher.logic.looking_back import REFUSALS, Search

SCALED = HistoryEntry("deployment/rain", "1", 1_000, "kay@hill", "scale deployment", {}, {}, {"scale": {"scorers": 2}})
KEYED = HistoryEntry("key/ci", "2", 2_000, "kay@hill", "create key", {}, {}, {"name": "rain"})
REFUSED = HistoryEntry(
    REFUSALS, "3", 3_000, "key/ci", "refused: delete", {}, {}, {"operation": "delete", "target": {"name": "rain"}}
)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), [SCALED, KEYED, REFUSED]),
        (Search(deployment="rain"), [SCALED, REFUSED]),
        (Search(deployment="rai"), []),
        (Search(who="key/"), [REFUSED]),
        (Search(what="scale"), [SCALED]),
        (Search(since_ms=2_000), [KEYED, REFUSED]),
        (Search(deployment="rain", who="kay", since_ms=1_001), []),
    ],
)
def test_what_is_sought_is_found(search: Search, found: list[HistoryEntry]) -> None:
    assert [entry for entry in (SCALED, KEYED, REFUSED) if search.includes(entry)] == found
