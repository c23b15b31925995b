"""What the end of a process came from, in one line."""

import signal
from collections.abc import Sequence
from typing import Final

import orjson

_LONGEST: Final = 500


def explain_exit(code: int | None, noted: str, lines: Sequence[str]) -> str:
    """Why a process ended.

    Args:
        code: Its exit code; negative for a signal; None where nobody saw it end.
        noted: What whoever kept the process did to it: a limit that it broke, a lease that ran out; else empty.
        lines: The last lines of its log.
    """
    if noted:
        return noted
    if code is None:
        return "it vanished: the machine or whoever kept the process was stopped"
    if code < 0:
        return f"killed by signal {-code} ({_signal_name(-code)})"
    said = last_error(lines)
    return f"exit code {code}: {said}" if said else f"exit code {code}"


def last_error(lines: Sequence[str]) -> str:
    """The last error that a service logged, with its remedy; else the last line; else nothing."""
    for line in reversed(lines):
        if (said := _logged_error(line)) is not None:
            return said[:_LONGEST]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:_LONGEST]


def _logged_error(line: str) -> str | None:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entry, dict) or entry.get("level") not in {"error", "critical"}:
        return None
    remedy = entry.get("remedy")
    said = str(entry.get("event", ""))
    return f"{said} ({remedy})" if remedy else said


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
