"""The newest predictions of a topic, read once and held once for all who follow it.

Subscribers do not have queues of their own. Each has a cursor into this one list; a subscriber that stops reading costs
nothing but its cursor, and one that is overtaken by the list's end has lost its place. So memory is bounded by the
list, however many subscribers there are and however slow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from millrace.core.errors import TransientError
from millrace_gateway.logic.positions import Positions, format_id
from millrace_gateway.logic.selection import Published, Selection


class OvertakenError(TransientError):
    """A subscriber was so slow that the records it would read next are no longer held."""

    def __init__(self) -> None:
        super().__init__(
            "this subscriber reads too slowly: what comes next is no longer held here",
            remedy="begin again at the last id; nothing is lost",
        )


@dataclass(frozen=True, slots=True)
class Event:
    """What one subscriber is sent.

    Attributes:
        id: The subscriber's positions after this prediction.
        prediction: The prediction.
    """

    id: str
    prediction: Published


class Recent:
    """A bounded list of the predictions that were read last, in the order in which they were read.

    Args:
        positions: By partition, the first offset that will be added.
        max_records: Most predictions that are held.
        max_bytes: Most bytes of them.
    """

    def __init__(self, positions: Positions, *, max_records: int = 50_000, max_bytes: int = 32 * 2**20) -> None:
        self._held: list[Published] = []
        self._first = 0
        self._bytes = 0
        self._max_records: Final = max_records
        self._max_bytes: Final = max_bytes
        self._floor = dict(positions)
        self._positions = dict(positions)

    @property
    def positions(self) -> Mapping[int, int]:
        """By partition, the offset after the last record that was added."""
        return self._positions

    @property
    def first(self) -> int:
        """Number of the oldest prediction that is held; they are numbered as they are added, from 0."""
        return self._first

    @property
    def end(self) -> int:
        """Number that the next prediction will get."""
        return self._first + len(self._held)

    @property
    def held_bytes(self) -> int:
        """Bytes of the predictions that are held."""
        return self._bytes

    def add(self, predictions: Sequence[Published], reached: Positions) -> None:
        """Add what was read, and let go of the oldest beyond the bounds.

        Args:
            predictions: In the order in which they were read; offsets ascend within a partition.
            reached: How far was read, which may be past records that are no predictions.
        """
        self._held.extend(predictions)
        self._bytes += sum(len(each.text) for each in predictions)
        for partition, offset in reached.items():
            self._positions[partition] = max(offset, self._positions.get(partition, 0))
        gone = max(0, len(self._held) - self._max_records)
        self._bytes -= sum(len(each.text) for each in self._held[:gone])
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._held[gone].text)
            gone += 1
        for each in self._held[:gone]:
            self._floor[each.partition] = each.offset + 1
        del self._held[:gone]
        self._first += gone

    def reaches_back_to(self, positions: Positions) -> bool:
        """Whether everything that was read since these positions is held: then nothing is lost by joining here."""
        return all(positions.get(partition, 0) >= floor for partition, floor in self._floor.items())

    def since(self, number: int, limit: int) -> Sequence[Published]:
        """At most `limit` predictions from this number on.

        Raises:
            OvertakenError: They are no longer held.
        """
        if number < self._first:
            raise OvertakenError
        start = number - self._first
        return self._held[start : start + limit]


class Cursor:
    """One subscriber's place: what it was sent, and what comes next.

    A subscriber that begins in the past reads by itself (`pass_on`) until `join` succeeds, and then what all read
    (`take`). Nothing is left out or repeated at the join: positions decide, record by record.

    Args:
        positions: By partition, the first offset that is wanted.
        selection: What is wanted of it.
    """

    def __init__(self, positions: Positions, selection: Selection) -> None:
        self._positions = dict(positions)
        self._selection: Final = selection
        self._number: int | None = None

    @property
    def id(self) -> str:
        """The id of the place: whoever begins there gets what this subscriber would get next."""
        return format_id(self._positions)

    @property
    def has_joined(self) -> bool:
        """Whether the subscriber reads what all read."""
        return self._number is not None

    def join(self, recent: Recent) -> bool:
        """Read from the shared list from now on, if it reaches back far enough; whether it does."""
        if self._number is None and recent.reaches_back_to(self._positions):
            is_ahead = all(self._positions.get(number, 0) >= end for number, end in recent.positions.items())
            self._number = recent.end if is_ahead else recent.first
        return self.has_joined

    def take(self, recent: Recent, limit: int) -> list[Event]:
        """What comes next, of at most `limit` predictions of the shared list. Only after `join`.

        Raises:
            OvertakenError: The list has moved on past this place.
        """
        predictions = recent.since(self._number or 0, limit)
        self._number = (self._number or 0) + len(predictions)
        events = self._select(predictions)
        if self._number == recent.end:  # also past what is no prediction
            self._move(recent.positions)
        return events

    def waits(self, recent: Recent) -> bool:
        """Whether the shared list has nothing more for this subscriber."""
        return self._number == recent.end

    def pass_on(self, predictions: Sequence[Published], reached: Positions) -> list[Event]:
        """What of the subscriber's own reading comes next. Only before `join`.

        Args:
            predictions: As read, in order, from the place on.
            reached: How far was read.
        """
        events = self._select(predictions)
        self._move(reached)
        return events

    def _select(self, predictions: Sequence[Published]) -> list[Event]:
        events: list[Event] = []
        for each in predictions:
            if each.offset < self._positions.get(each.partition, 0):
                continue  # sent before the join
            self._positions[each.partition] = each.offset + 1
            if self._selection.has(each):
                events.append(Event(self.id, each))
        return events

    def _move(self, reached: Positions) -> None:
        for partition, offset in reached.items():
            self._positions[partition] = max(offset, self._positions.get(partition, 0))
