"""Requests and answers as records: `<deployment>.requests`, and beside them `<deployment>.predictions`.

A request's record is written first. Where it lies is the source of its prediction, whose record follows with the same
key, partition and timestamp, in the form in which a scorer writes it: what was asked online is audited like the rest.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from operator import add
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.connection import Link
from millrace.kafka.placing import Placed, PlacingWriter
from millrace.kafka.writing import by_key
from millrace.process.settings import KafkaSettings
from millrace.telemetry.traces import TRACEPARENT
from millrace_gateway.adapters.batching import PendingRequest, ScoredRequests
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.logic.asking import event_ids

_SHORTEST_TURN: Final = timedelta(milliseconds=1)
_IDLE: Final = timedelta(milliseconds=100)
_PROBE_EVERY: Final = timedelta(seconds=5)

_Context: TypeAlias = tuple[tuple[str, bytes | None], ...]
OnWritten: TypeAlias = Callable[[MillraceError | None], None]
"""Called once an entry, from the journal's thread: with nothing when all records of every row are acknowledged."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One micro-batch that was answered, as columns of one length."""

    pages: Pages
    scored: ScoredRequests
    on_written: OnWritten
    event_ids: list[str]
    keys: list[bytes]
    asked_at_ms: NDArray[np.int64]
    contexts: Sequence[_Context] | None
    """What says to which trace a row belongs; None where none does."""

    @classmethod
    def of(cls, pages: Pages, scored: ScoredRequests, on_written: OnWritten) -> "_Entry":
        asked = scored.requests
        rows = [len(each.columns) for each in asked]
        ids = list(chain.from_iterable(map(event_ids, [each.event_id for each in asked], rows)))
        asked_at_ms = np.repeat(np.array([each.asked_at_ms for each in asked], np.int64), rows)
        keys = list(map(str.encode, ids))
        start = 0
        for each, count in zip(asked, rows, strict=True):
            if each.key is not None:
                keys[start : start + count] = [each.key.encode()] * count
            start += count
        return cls(pages, scored, on_written, ids, keys, asked_at_ms, _contexts(asked, rows))


def _contexts(asked: Sequence[PendingRequest], rows: Sequence[int]) -> Sequence[_Context] | None:
    """A header for each row of a request with a span, and none for the others."""
    if not any(each.traceparent for each in asked):
        return None
    own: list[_Context] = [((TRACEPARENT, each.traceparent),) if each.traceparent else () for each in asked]
    return list(chain.from_iterable(map(repeat, own, rows)))


class _Together:
    """Hears of so many batches, and tells of them once: the first error, or nothing. See `OnPlaced`."""

    def __init__(self, batches: int, on_written: OnWritten) -> None:
        self._left = batches
        self._on_written = on_written
        self._error: MillraceError | None = None

    def __call__(self, outcome: Placed | MillraceError) -> None:
        self._left -= 1
        if isinstance(outcome, MillraceError):
            self._error = self._error or outcome
        if not self._left:
            self._on_written(self._error)


class Observer(Protocol):
    """Is told what became of entries, from the journal's thread. Must be quick and must not raise."""

    def written(self, rows: int) -> None:
        """Both records of so many rows are acknowledged."""
        ...

    def unwritten(self, rows: int, reason: str) -> None:
        """Some record of so many rows is lost."""
        ...

    def link(self, link: Link) -> None:
        """Whether the broker answers, whenever that changes."""
        ...


class Journal:
    """Writes entries on a thread of its own. `write` may be called from any thread.

    Args:
        kafka: The cluster.
        bound_rows: Most rows that are held until they are acknowledged.
        observer: Told what became of them.
        linger: How long a record waits for others to share its way; two of these are part of an answer that is waited
            for, and writing each micro-batch by itself costs more than scoring it.
        delivery_timeout: A row that the broker has not acknowledged after this time is lost.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        bound_rows: int,
        observer: Observer,
        linger: timedelta,
        delivery_timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._bound = bound_rows
        self._observer = observer
        self._entries: queue.SimpleQueue[tuple[Pages, ScoredRequests, OnWritten] | None] = queue.SimpleQueue()
        self._writer = PlacingWriter(kafka, delivery_timeout=delivery_timeout, linger=linger)
        self._turn = max(linger, _SHORTEST_TURN)
        self._link = Link.UP
        self._held = 0
        self._closed = False
        self._is_over: Callable[[], bool] = lambda: False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="journal")
        self._thread.start()

    @property
    def link(self) -> Link:
        """Whether the broker answered lately."""
        return self._link

    def has_room(self, rows: int) -> bool:
        """Whether so many rows may be written now."""
        return self._held + rows <= self._bound

    def write(self, pages: Pages, scored: ScoredRequests, on_written: OnWritten) -> bool:
        """Write a micro-batch, without waiting. False, and nothing is written, where there is no room for it."""
        rows = len(scored.part.asked)
        with self._lock:
            if self._closed or (self._held and not self.has_room(rows)):
                return False
            self._held += rows
            self._entries.put((pages, scored, on_written))
        return True

    def lose(self, scored: ScoredRequests) -> None:
        """Count a micro-batch that was answered and that `write` had no room for."""
        self._observer.unwritten(len(scored.part.asked), "there is no room for more that is not acknowledged")

    def close(self, is_over: Callable[[], bool]) -> None:
        """Write what is held, until this says that it is over, and stop; what is left counts as lost."""
        with self._lock:
            self._closed = True
            self._is_over = is_over
            self._entries.put(None)
        self._thread.join()
        self._writer.close()

    def _run(self) -> None:
        is_open, silence = True, timedelta(0)
        while is_open or (self._held and not self._is_over()):
            is_open = self._take_all(is_open=is_open) and is_open
            is_busy = bool(self._writer.in_flight)
            self._writer.serve(self._turn if is_busy else timedelta(0))
            silence = timedelta(0) if is_busy else silence + _IDLE
            if not is_busy and (silence >= _PROBE_EVERY or self._link is Link.AWAY):
                silence = timedelta(0)
                self._writer.probe()
            self._hear(self._writer.link)

    def _take_all(self, *, is_open: bool) -> bool:
        """Write every entry that waits; wait for one where nothing is in flight. False once the journal closes."""
        patience = 0.0 if self._writer.in_flight or not is_open else _IDLE.total_seconds()
        try:
            while (waiting := self._entries.get(block=bool(patience), timeout=patience or None)) is not None:
                self._ask(_Entry.of(*waiting))
                patience = 0.0
        except queue.Empty:
            return True
        return False

    def _ask(self, entry: _Entry) -> None:
        headers = [(*entry.pages.headers, ("id", name.encode())) for name in entry.event_ids]
        if entry.contexts is not None:
            headers = list(map(add, headers, entry.contexts))
        batch = OutputBatch(
            entry.pages.requests_topic,
            by_key(len(entry.keys)),
            entry.asked_at_ms,
            entry.keys,
            entry.pages.requests.encode(entry.scored.part.asked),
            headers,
        )
        self._writer.write(batch, partial(self._asked, entry))

    def _asked(self, entry: _Entry, outcome: Placed | MillraceError) -> None:
        if isinstance(outcome, MillraceError):
            self._settle(entry, outcome)
            return
        places = outcome.partitions, outcome.offsets, entry.asked_at_ms
        nothing = [None] * len(entry.keys)
        requests = RecordBatch(entry.pages.requests_topic, *places, entry.keys, nothing, nothing)
        scored = entry.scored
        batches = entry.pages.answers(requests, scored.part, entry.event_ids, scored_at_ms=scored.scored_at_ms)
        written = _Together(len(batches), partial(self._settle, entry))
        for batch in batches:
            self._writer.write(replace(batch, headers=entry.contexts), written)

    def _settle(self, entry: _Entry, error: MillraceError | None) -> None:
        rows = len(entry.keys)
        with self._lock:
            self._held -= rows
        if error is None:
            self._observer.written(rows)
        else:
            self._observer.unwritten(rows, error.message)
        entry.on_written(error)

    def _hear(self, link: Link) -> None:
        if link is not self._link:
            self._link = link
            self._observer.link(link)
