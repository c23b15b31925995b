"""A client of server-sent events, as the standard has it: fields, blank lines, the last id, and coming back with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event, Thread
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


class Follower(Thread):
    """A subscriber that comes back with its last id whenever it is cut off, until it is told that this is enough."""

    def __init__(self, url: str, path: str, start: str) -> None:
        super().__init__(name="follower")
        self.numbers: list[int] = []
        self.enough = Event()
        self._url, self._path, self._place = url, path, start

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self.enough.is_set():
                with suppress(httpx.TransportError, AssertionError):
                    self._follow(client)

    def _follow(self, client: httpx.Client) -> None:
        with event_source(client, self._path, last_id=self._place) as events:
            before = 0
            while not self.enough.is_set() and events.hear():
                self.numbers += events.numbers[before:]
                before, self._place = len(events.numbers), events.last_id
