"""The newest truth about each event, out of labels, corrections and retractions in any order."""

from collections.abc import Iterable, Sequence
from typing import Final

from millrace.codec.reading import LabelDocument, read_label
from millrace.core.errors import InvalidRecordError, RequestError

Truth = str | int | float | bool


class LabelBook:
    """The truth by event. A higher revision replaces a lower one; an equal one is a repetition, and changes nothing.

    Args:
        max_events: The most events that are held in memory.
    """

    def __init__(self, max_events: int) -> None:
        self._max_events: Final = max_events
        self._truths: dict[str, tuple[int, Truth | None]] = {}
        self.invalid = 0
        """Records that are no labels."""

    def add(self, values: Iterable[bytes | None]) -> None:
        """Take labels in; counts those that cannot be read.

        Raises:
            RequestError: There are labels of more events than may be held.
        """
        for value in values:
            try:
                self._add(read_label(value))
            except InvalidRecordError:
                self.invalid += 1
        if len(self._truths) > self._max_events:
            raise RequestError(
                f"there are labels of more than {self._max_events} events",
                remedy="raise limits.label_events, or train on a shorter history",
            )

    def look_up(self, event_ids: Sequence[str]) -> list[Truth | None]:
        """The truth about each event; None where it is not known, or not any more."""
        unknown = (0, None)
        return [self._truths.get(event_id, unknown)[1] for event_id in event_ids]

    def _add(self, label: LabelDocument) -> None:
        event, revision = label["event_id"], label.get("revision", 0)
        known = self._truths.get(event)
        if known is None or known[0] < revision:
            truth = None if label.get("op") == "retract" else label.get("label")
            self._truths[event] = (revision, truth)
