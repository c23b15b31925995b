"""What a trainer does about a candidate that a rollout decides on."""

from typing import Any

import pytest
from loop_records import START, completed

from millrace.core.promotion import Verdict
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.history import HistoryEntry
from millrace_trainer.logic.rollout import Await, Begin, Ended, Step, next_step

DONE = completed("loop", Verdict.TRY)
STARTED_MS = int(START.timestamp() * 1000)


def change(at: int, result: Any = None, who: str = "auditor/rain/0", **aliases: int | None) -> HistoryEntry:  # noqa: ANN401
    """Somebody moved aliases, so many milliseconds after the candidate was there."""
    after: dict[str, dict[str, object] | None] = {
        f"weather@{alias}": None if version is None else {"version": version} for alias, version in aliases.items()
    }
    return HistoryEntry("model/weather", "id", STARTED_MS + at, who, "move", {}, {MODELS_TOPIC: after}, result)


BEGUN = change(1, challenger=2)
WHY = {"is_as_wanted": True, "why": "gain +0.1"}


@pytest.mark.parametrize(
    ("aliases", "history", "step"),
    [
        ({"champion": 1}, [], Begin()),
        ({"champion": 1}, [change(-5, challenger=2), change(-4, challenger=None)], Begin()),
        ({"champion": 1, "challenger": 7}, [], Begin()),
        ({"champion": 1, "challenger": 2}, [BEGUN], Await()),
        (
            {"champion": 2},
            [BEGUN, change(2, WHY, champion=2, challenger=None)],
            Ended(is_champion=True, why="gain +0.1"),
        ),
        ({"champion": 1}, [BEGUN, change(2, WHY, challenger=None)], Ended(is_champion=False, why="gain +0.1")),
        (
            {"champion": 2, "challenger": 2},
            [BEGUN, change(2, {"version": 2}, "ada@mill", champion=2)],
            Ended(is_champion=True, why="move, by ada@mill"),
        ),
        (
            {"champion": 1, "challenger": 3},
            [BEGUN, change(2, who="ada@mill", challenger=3)],
            Ended(is_champion=False, why="move, by ada@mill"),
        ),
        (
            {"champion": 3, "challenger": 2},
            [BEGUN, change(2, champion=3)],
            Ended(is_champion=False, why="version 3 became the champion meanwhile"),
        ),
    ],
    ids=[
        "new",
        "an older rollout",
        "another is named",
        "on",
        "promoted",
        "rolled back",
        "by hand",
        "replaced",
        "other",
    ],
)
def test_the_step_follows_from_the_aliases_and_their_history(
    aliases: dict[str, int], history: list[HistoryEntry], step: Step
) -> None:
    assert next_step(DONE, aliases, history) == step
