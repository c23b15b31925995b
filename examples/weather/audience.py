"""The audience: three subscriptions, as anybody could have them, that see committed records only."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeAlias

import orjson

from examples.weather.days import day_of
from examples.weather.tally import Answer
from millrace.client.predictions import read_predictions
from millrace.codec.dead_letters import read_dead_letter
from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.reading import Position, Reader, Until
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Truth:
    """What a day was."""

    day: int
    label: str


@dataclass(frozen=True, slots=True)
class Letter:
    """Why a record got no prediction."""

    reason: str


Seen: TypeAlias = Answer | Truth | Letter


@dataclass(frozen=True, slots=True)
class Audience:
    """Subscribes while its block runs, in one thread for each topic, so that none waits for another.

    Attributes:
        kafka: The cluster.
        deployment: Whose predictions and dead letters.
        labels: Topic of the truth.
        clock: The time.
    """

    kafka: KafkaSettings
    deployment: Deployment
    labels: str
    clock: Clock
    _seen: "queue.SimpleQueue[Seen | MillraceError]" = field(default_factory=queue.SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for follow in (self._answers, self._truths, self._letters):
            thread = threading.Thread(target=self._run, args=(follow,), name=follow.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def seen(self, within: timedelta) -> Iterator[Seen]:
        """What is there, and what comes until `within` has passed.

        Raises:
            MillraceError: A subscription failed.
        """
        until = self.clock.monotonic() + within.total_seconds()
        while True:
            try:
                one = self._seen.get(timeout=max(0.0, until - self.clock.monotonic()))
            except queue.Empty:
                return
            if isinstance(one, MillraceError):
                raise one
            yield one

    def _run(self, follow: Callable[[], Iterator[Seen]]) -> None:
        try:
            for one in follow():
                self._seen.put(one)
        except MillraceError as error:
            self._seen.put(error)

    def _answers(self) -> Iterator[Seen]:
        topic = self.deployment.predictions_topic
        for some in read_predictions(self.kafka, topic, start=Position.EARLIEST):
            now_ms, now = self.clock.wall_ms(), self.clock.monotonic()
            for one in some:
                label = one.label or ""
                yield Answer(day_of(one.event_id), label, one.scores[label], now_ms - one.event_time_ms, now)
            if self._stop.is_set():
                return

    def _truths(self) -> Iterator[Seen]:
        for value in self._values(self.labels):
            document = orjson.loads(value)
            yield Truth(day_of(document["event_id"]), document["label"])

    def _values(self, topic: str) -> Iterator[bytes]:
        with Reader(self.kafka, topic, until=Until.STOPPED) as reader:
            while not self._stop.is_set():
                yield from filter(None, reader.read().values)

    def _letters(self) -> Iterator[Seen]:
        with Reader(self.kafka, self.deployment.dead_letters_topic, until=Until.STOPPED) as reader:
            while not self._stop.is_set():
                for headers in reader.read().headers:
                    yield Letter(read_dead_letter(headers).reason)
