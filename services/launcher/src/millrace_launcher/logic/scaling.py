"""What a change of the number of processes does to a deployment's document, and how it is told."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from millrace.kafka.history import HistoryEntry

SCALED: Final = "scale deployment"
"""What the history calls it."""

AUTOSCALER: Final = "autoscaler"
"""Whom the history names when nobody did it."""

Wanted: TypeAlias = Mapping[str, bool | int]
"""Numbers by the names of the section `scale`; and `auto`: whether the number of scorers follows the load."""


def rescaled(document: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The document with other numbers of processes.

    Automatic scaling that is turned off keeps its settings and is paused, so that it can be turned on again.
    """
    scale = {**document.get("scale", {}), **{name: count for name, count in wanted.items() if name != "auto"}}
    known = scale.get("auto")
    if wanted.get("auto"):
        scale["auto"] = {name: setting for name, setting in (known or {}).items() if name != "paused"}
    elif "auto" in wanted and known is not None:
        scale["auto"] = {**known, "paused": True}
    return {**document, "scale": scale}


def last_scaling(entries: Iterable[HistoryEntry], deployment: str) -> list[str]:
    """When, by whom and why the number of processes changed last, in one line; none where it never did."""
    about = f"deployment/{deployment}"
    found = [entry for entry in entries if entry.subject == about and entry.what == SCALED and entry.after]
    result = found[-1].result if found else None
    if not isinstance(result, Mapping):
        return []
    counts = ", ".join(f"{name} {count}" for name, count in result.get("scale", {}).items())
    why = f", because: {result['why']}" if "why" in result else ""
    at = f"{datetime.fromtimestamp(found[-1].at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return [f"scaled at {at} by {found[-1].who}: {counts}{why}"]
