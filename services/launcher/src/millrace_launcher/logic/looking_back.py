"""Which records of the history somebody wants to see."""

from dataclasses import dataclass
from typing import Final

from millrace.kafka.history import HistoryEntry

REFUSALS: Final = "refusals"
"""The subject of what was refused: of its own, so that who is refused again and again holds up no other subject."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; None for anything.

    Attributes:
        deployment: What was done to this deployment, or was refused to be.
        who: Who did it, or the beginning of his name.
        what: The action, or its beginning: `scale`, `refused`.
        since_ms: Not before this, milliseconds since 1970.
    """

    deployment: str | None = None
    who: str | None = None
    what: str | None = None
    since_ms: int | None = None

    def includes(self, entry: HistoryEntry) -> bool:
        """Whether an entry is wanted."""
        return (
            (self.deployment is None or self.deployment == _deployment(entry))
            and (self.who is None or entry.who.startswith(self.who))
            and (self.what is None or entry.what.startswith(self.what))
            and (self.since_ms is None or entry.at_ms >= self.since_ms)
        )


def _deployment(entry: HistoryEntry) -> str | None:
    """The deployment that an entry is about."""
    match entry:
        case HistoryEntry(subject=subject) if subject.startswith("deployment/"):
            return subject.removeprefix("deployment/")
        case HistoryEntry(subject=subject, result={"operation": _, "target": {"name": str(name)}}) if (
            subject == REFUSALS
        ):
            return name
        case _:
            return None
