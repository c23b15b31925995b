"""A client of server-sent events, as the standard has it: fields, blank lines, the last id."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

import httpx
import orjson

Param: TypeAlias = str | int | float | Sequence[str]


@dataclass
class EventSource:
    """What was heard so far.

    Attributes:
        events: Type and decoded data of every event.
        numbers: The event ids of the predictions among them, as numbers.
        last_id: To be given back as `Last-Event-ID`.
    """

    lines: Iterator[str]
    last_id: str = ""
    events: list[tuple[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def listen(self, count: int) -> Sequence[int]:
        """Go on until there are so many predictions, or the stream ends."""
        while len(self.numbers) < count and self.hear():
            pass
        return self.numbers

    def hear(self) -> bool:
        """Read one block; whether there was one."""
        kind, data, place = "message", "", self.last_id
        for line in self.lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "id":
                    place = value
                case "event":
                    kind = value
                case "data":
                    data = value
                case "":
                    self.last_id = place  # only now: what is cut off in the middle was not heard
                    if data:
                        self._heard(kind, orjson.loads(data))
                    return True
        return False

    def _heard(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))
        if kind == "message":
            self.numbers.append(int(data["event_id"]))


@contextmanager
def event_source(client: httpx.Client, path: str, *, last_id: str = "", **params: Param) -> Iterator[EventSource]:
    """Follow an event stream; the first block, which says the place, has been read."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.stream("GET", path, params=params, headers=headers) as response:
        if response.status_code != HTTPStatus.OK:
            raise AssertionError(response.read().decode())
        source = EventSource(response.iter_lines())
        source.hear()
        yield source
