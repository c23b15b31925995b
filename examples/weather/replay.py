"""The replay: years of days as a stream of a minute or two, and each truth one day later."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.weather.days import Damaged, Days, feature_records, label_records
from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings

_TICK_SECS: Final = 0.05
"""Days leave in portions of this duration: small enough to be a stream, large enough to spare the processor."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What is due at one moment: days whose measurements come, and days whose truth becomes known."""

    features: range
    labels: range


def sendings(first: int, end: int, todays: Iterable[int]) -> Iterator[Sending]:
    """What is due at each of `todays`, which ascend and are the first day that has not come yet, until all was sent.

    The truth about a day is due when the next day comes, and about the last day at the moment after it.
    """
    features = labels = first
    for today in todays:
        next_day = min(today, end)
        known = end if features == end else max(labels, next_day - 1)
        yield Sending(range(features, next_day), range(labels, known))
        features, labels = next_day, known
        if labels == end:
            return


@dataclass(slots=True)
class Replay:
    """Sends days from a thread of its own, evenly, and no further than it is allowed to.

    Attributes:
        kafka: The cluster.
        features: Topic of the measurements.
        labels: Topic of the truth.
        days: What to send.
        damaged: Records that come between them.
        days_per_sec: How fast, while nothing holds it.
        clock: The time.
    """

    kafka: KafkaSettings
    features: str
    labels: str
    days: Days
    damaged: tuple[Damaged, ...]
    days_per_sec: float
    clock: Clock
    _sent: int = 0
    _today: int = 0
    _limit: int = 0
    _is_done: bool = False
    _failure: MillraceError | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _sent_at_ms: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._today = self.days.first
        self._sent_at_ms = np.zeros(len(self.days), np.int64)

    def start(self) -> None:
        """Begin; nothing is sent before `allow`."""
        threading.Thread(target=self._run, name="replay", daemon=True).start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def allow(self, day: int) -> None:
        """Send the days before this one, and wait there."""
        self._limit = day

    @property
    def today(self) -> int:
        """The first day that has not been sent."""
        return self._today

    @property
    def sent(self) -> int:
        """Feature records sent so far, the damaged ones included."""
        return self._sent

    def sent_at_ms(self, day: int) -> int:
        """When a day was sent, on the wall clock: its record's time is the day's own."""
        return int(self._sent_at_ms[day - self.days.first])

    @property
    def is_done(self) -> bool:
        """Whether every record was sent and acknowledged.

        Raises:
            MillraceError: Sending failed; the error says why.
        """
        if self._failure is not None:
            raise self._failure
        return self._is_done

    def _run(self) -> None:
        try:
            with Writer(self.kafka) as writer:
                for due in sendings(self.days.first, self.days.end, self._todays()):
                    self._send(writer, due)
                writer.flush()
        except MillraceError as error:
            self._failure = error
        else:
            self._is_done = True

    def _todays(self) -> Iterator[int]:
        today, before = float(self.days.first), self.clock.monotonic()
        while not self._stop.wait(_TICK_SECS):
            now = self.clock.monotonic()
            today = max(today, min(today + (now - before) * self.days_per_sec, self._limit))
            before = now
            yield int(today)

    def _send(self, writer: Writer, due: Sending) -> None:
        if due.features:
            days = self.days.between(due.features.start, due.features.stop)
            records = feature_records(self.features, days, self.damaged)
            self._sent_at_ms[days.first - self.days.first : days.end - self.days.first] = self.clock.wall_ms()
            writer.write(records)
            self._sent += len(records)
            self._today = days.end
        if due.labels:
            writer.write(label_records(self.labels, self.days.between(due.labels.start, due.labels.stop)))
