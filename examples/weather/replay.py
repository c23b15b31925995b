"""The replay: years of days as a stream of a few seconds, and each truth one day later."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from examples.weather.days import Damaged, Days, feature_records, label_records
from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings

_TICK_SECS = 0.02
"""Days leave in portions of this duration: small enough to be a stream, large enough to spare the processor."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast days pass.

    Attributes:
        first: The first day.
        end: The day after the last.
        seconds: How long the whole replay takes.
    """

    first: int
    end: int
    seconds: float

    def day_at(self, elapsed_secs: float) -> int:
        """The first day that has not come yet after `elapsed_secs`.

        >>> pace = Pace(first=4000, end=5000, seconds=10)
        >>> pace.day_at(0), pace.day_at(5), pace.day_at(60)
        (4000, 4500, 5000)
        """
        passed = min(1.0, max(0.0, elapsed_secs / self.seconds))
        return self.first + int(passed * (self.end - self.first))


@dataclass(frozen=True, slots=True)
class Sending:
    """What is due at one moment: days whose measurements come, and days whose truth becomes known."""

    features: range
    labels: range


def sendings(pace: Pace, moments: Iterator[float]) -> Iterator[Sending]:
    """What is due at each of `moments` (seconds since the start, ascending), until everything was sent.

    The truth about a day is due when the next day comes, and about the last day at the moment after it.
    """
    features = labels = pace.first
    for moment in moments:
        next_day = pace.day_at(moment)
        known = pace.end if features == pace.end else max(labels, next_day - 1)
        yield Sending(range(features, next_day), range(labels, known))
        features, labels = next_day, known
        if labels == pace.end:
            return


@dataclass(slots=True)
class Replay:
    """Sends days from a thread of its own.

    Attributes:
        kafka: The cluster.
        features: Topic of the measurements.
        labels: Topic of the truth.
        days: What to send.
        damaged: Records that come between them.
        seconds: How long it takes.
        clock: The time.
    """

    kafka: KafkaSettings
    features: str
    labels: str
    days: Days
    damaged: tuple[Damaged, ...]
    seconds: float
    clock: Clock
    _sent: int = 0
    _is_done: bool = False
    _failure: MillraceError | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="replay", daemon=True).start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    @property
    def sent(self) -> int:
        """Feature records sent so far, the damaged ones included."""
        return self._sent

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
                for due in sendings(Pace(self.days.first, self.days.end, self.seconds), self._moments()):
                    self._send(writer, due)
                writer.flush()
        except MillraceError as error:
            self._failure = error
        else:
            self._is_done = True

    def _moments(self) -> Iterator[float]:
        start = self.clock.monotonic()
        while not self._stop.wait(_TICK_SECS):
            yield self.clock.monotonic() - start

    def _send(self, writer: Writer, due: Sending) -> None:
        if due.features:
            days = self.days.between(due.features.start, due.features.stop)
            records = feature_records(self.features, days, self.damaged)
            writer.write(records)
            self._sent += len(records)
        if due.labels:
            days = self.days.between(due.labels.start, due.labels.stop)
            writer.write(label_records(self.labels, days, now_ms=self.clock.wall_ms()))
