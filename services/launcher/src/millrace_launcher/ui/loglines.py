"""Lines of logs, as a person reads them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_OF_EVERY_LINE: Final = {"service", "node", "slot", "deployment"}
"""What a process says each time; the page says it once."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log: when and how bad where it says so, what happened, and what else it says."""

    at: str
    level: str
    said: str
    rest: str


def log_lines(lines: Iterable[str]) -> tuple[LogLine, ...]:
    """Lines as a person reads them; those that are no JSON of ours stay as they are."""
    return tuple(map(_log_line, lines))


def _log_line(line: str) -> LogLine:
    try:
        said = json.loads(line)
        at, level, event = said.pop("timestamp"), said.pop("level"), said.pop("event")
    except (ValueError, KeyError, AttributeError, TypeError):
        return LogLine("", "", line, "")
    rest = " ".join(f"{name}={value}" for name, value in said.items() if name not in _OF_EVERY_LINE)
    return LogLine(str(at)[11:19], str(level), str(event), rest)
