"""The audience: subscriptions, as anybody could have them, that see committed records only."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeAlias

import orjson

from examples.weather.days import day_of
from examples.weather.tally import Answer
from millrace.client.audits import ALERTS_TOPIC, Audit, AuditAlert, audits_topic, read_alert, read_audit
from millrace.client.predictions import Prediction, read_predictions
from millrace.codec.dead_letters import read_dead_letter
from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.core.records import RecordBatch
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.reading import Position, Reader, Until
from millrace.process.deployment import Deployment
from millrace.process.retraining import LoopAnswer, Requested, read_loop_record
from millrace.process.settings import KafkaSettings

_LOOK_SECS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Truth:
    """What a day was."""

    day: int
    label: str


@dataclass(frozen=True, slots=True)
class Letter:
    """Why a record got no prediction."""

    reason: str


@dataclass(frozen=True, slots=True)
class FrozenAnswer:
    """What the first version, which is kept for ever, says about a day."""

    day: int
    label: str


Seen: TypeAlias = Answer | FrozenAnswer | Truth | Letter | Audit | AuditAlert | Requested | LoopAnswer


@dataclass(frozen=True, slots=True)
class Audience:
    """Subscribes while its block runs, in one thread for each topic, so that none waits for another.

    Attributes:
        kafka: The cluster.
        deployment: Whose predictions, dead letters, reports and alerts, and whose model's retraining.
        frozen: The deployment of the first version.
        sent_at_ms: When a day was sent, on the wall clock.
        clock: The time.
        check: Called while it waits for its subscriptions; raises where it is to wait no more.
    """

    kafka: KafkaSettings
    deployment: Deployment
    frozen: Deployment
    sent_at_ms: Callable[[int], int]
    clock: Clock
    check: Callable[[], None]
    _seen: "queue.SimpleQueue[Seen | MillraceError]" = field(default_factory=queue.SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _subscribed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Subscribe; return when every subscription has asked for records once, or failed."""
        for follow in (
            self._answers,
            self._frozen_answers,
            self._truths,
            self._letters,
            self._audits,
            self._alerts,
            self._retraining,
        ):
            thread = threading.Thread(target=self._run, args=(follow,), name=follow.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)
        for _ in self._threads:
            while not self._subscribed.acquire(timeout=_LOOK_SECS):
                self.check()
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

    def _run(self, follow: Callable[[], Iterator[Sequence[Seen]]]) -> None:
        try:
            for some in follow():
                self._subscribed.release()
                for one in some:
                    self._seen.put(one)
                if self._stop.is_set():
                    return
        except MillraceError as error:
            self._seen.put(error)
            self._subscribed.release()

    def _answers(self) -> Iterator[Sequence[Seen]]:
        for some in read_predictions(self.kafka, self.deployment.predictions_topic, start=Position.EARLIEST):
            now_ms, now = self.clock.wall_ms(), self.clock.monotonic()
            yield [self._answer(one, now_ms, now) for one in some]

    def _frozen_answers(self) -> Iterator[Sequence[Seen]]:
        for some in read_predictions(self.kafka, self.frozen.predictions_topic, start=Position.EARLIEST):
            yield [FrozenAnswer(day_of(one.event_id), one.label or "") for one in some]

    def _truths(self) -> Iterator[Sequence[Seen]]:
        for batch in self._batches(self.deployment.labels_topic):
            yield [_truth(value) for value in batch.values if value is not None]

    def _letters(self) -> Iterator[Sequence[Seen]]:
        for batch in self._batches(self.deployment.dead_letters_topic):
            yield [Letter(read_dead_letter(headers).reason) for headers in batch.headers]

    def _audits(self) -> Iterator[Sequence[Seen]]:
        for batch in self._batches(audits_topic(self.deployment.deployment)):
            yield list(map(read_audit, batch.values))

    def _alerts(self) -> Iterator[Sequence[Seen]]:
        for batch in self._batches(ALERTS_TOPIC):
            alerts = map(read_alert, batch.values)
            yield [alert for alert in alerts if alert.deployment == self.deployment.deployment]

    def _retraining(self) -> Iterator[Sequence[Seen]]:
        model = self.deployment.model.partition("@")[0].encode()
        for batch in self._batches(RETRAIN_TOPIC.name):
            ours = [value for key, value in zip(batch.keys, batch.values, strict=True) if key == model]
            yield [read_loop_record(value, subject=RETRAIN_TOPIC.name) for value in ours]

    def _answer(self, one: Prediction, now_ms: int, now_secs: float) -> Answer:
        day, label = day_of(one.event_id), one.label or ""
        return Answer(day, label, one.scores[label], one.version, now_ms - self.sent_at_ms(day), now_secs)

    def _batches(self, topic: str) -> Iterator[RecordBatch]:
        with Reader(self.kafka, topic, until=Until.STOPPED) as reader:
            while True:
                yield reader.read()


def _truth(value: bytes) -> Truth:
    document = orjson.loads(value)
    return Truth(day_of(document["event_id"]), document["label"])
