"""What to do about a candidate that a rollout decides on: a pure function of the aliases and of their history.

The trainer keeps nothing of its own about a rollout. Whether it has begun, whether it has ended and why is in the
records of who moved which alias, so a trainer that is killed in between goes on from them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.history import HistoryEntry
from millrace.process.retraining import Completed
from millrace.serving.catalogue import CHALLENGER, CHAMPION


@dataclass(frozen=True, slots=True)
class Begin:
    """Make the candidate the challenger."""


@dataclass(frozen=True, slots=True)
class Await:
    """The rollout is on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The rollout is over.

    Attributes:
        is_champion: Whether the candidate is the champion now.
        why: Why, with the numbers where the auditor decided.
    """

    is_champion: bool
    why: str


Step: TypeAlias = Begin | Await | Ended


def is_tried(completed: Completed, aliases: Mapping[str, int]) -> bool:
    """Whether the rollout is on, as the aliases alone have it."""
    names = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    return names == (completed.version, completed.candidate)


def next_step(completed: Completed, aliases: Mapping[str, int], history: Iterable[HistoryEntry]) -> Step:
    """What to do now.

    Args:
        completed: The candidate, and when it was there.
        aliases: Which version each alias of the model names.
        history: What was done to the model, oldest first.
    """
    if is_tried(completed, aliases):
        return Await()
    champion = aliases.get(CHAMPION)
    since = [entry for entry in history if entry.at_ms >= _milliseconds(completed.at)]
    if champion == completed.candidate:
        return Ended(is_champion=True, why=_why(since, f"{completed.model}@{CHAMPION}", completed.candidate))
    if champion != completed.version:
        return Ended(is_champion=False, why=f"version {champion} became the champion meanwhile")
    key = f"{completed.model}@{CHALLENGER}"
    begun = [index for index, entry in enumerate(since) if _named(entry, key) == completed.candidate]
    if not begun:
        return Begin()
    return Ended(is_champion=False, why=_why(since[begun[-1] + 1 :], key, aliases.get(CHALLENGER)))


def _why(entries: Iterable[HistoryEntry], key: str, version: int | None) -> str:
    """The reason that was given for letting an alias name a version, or none."""
    for entry in reversed(list(entries)):
        if key in entry.after.get(MODELS_TOPIC, {}) and _named(entry, key) == version:
            match entry.result:
                case {"why": str(why)}:
                    return why
            return f"{entry.what}, by {entry.who}"
    return "the history does not say why"


def _named(entry: HistoryEntry, key: str) -> object:
    """The version that a change let an alias name; None where it took the alias away, or did not touch it."""
    value = entry.after.get(MODELS_TOPIC, {}).get(key)
    return None if value is None else value.get("version")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
