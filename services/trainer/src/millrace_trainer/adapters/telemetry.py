"""Metrics, readiness and log lines of a trainer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from millrace.core.errors import MillraceError
from millrace.process.health import Health
from millrace.process.retraining import Accepted, Completed, LoopAnswer
from millrace.telemetry import trainer as metrics
from millrace.telemetry.metrics import Instruments
from millrace.telemetry.trainer import LoopOutcome, TrainingStage

log = structlog.get_logger()


class Telemetry:
    """Counts and says what the trainer does.

    Args:
        instruments: Where counts are kept.
        health: Where readiness is said.
        seconds: A clock for durations.
    """

    def __init__(self, instruments: Instruments, health: Health, *, seconds: Callable[[], float]) -> None:
        self._instruments = instruments
        self._health = health
        self._seconds = seconds

    def reading(self) -> None:
        """The log of requests answers."""
        self._health.ready()
        self._instruments.set(metrics.READY, 1)

    def unreachable(self, reason: str) -> None:
        """The log of requests does not answer; the trainer goes on asking."""
        if self._health.readiness.holds:
            log.warning("broker not reachable; still asking", reason=reason)
        self._health.not_ready(reason)
        self._instruments.set(metrics.READY, 0)

    def unreadable(self, error: MillraceError) -> None:
        """A record of the topic is none of a loop."""
        log.warning("a record is passed over", reason=error.message)

    @contextmanager
    def stage(self, stage: TrainingStage) -> Iterator[None]:
        """Measure a stage; one that fails is not counted."""
        log.info("training", stage=stage.value)
        started = self._seconds()
        yield
        self._instruments.observe(metrics.STAGE_DURATION, self._seconds() - started, stage=stage)

    def answered(self, answer: LoopAnswer) -> None:
        """An answer was committed."""
        step = answer.type.split(".")[1]
        log.info(step, loop_id=answer.loop_id, model=answer.model, version=answer.version, why=_why(answer))
        if isinstance(answer, Completed):
            self._instruments.set(metrics.ROWS_TRAINED, answer.dataset.train)
            self._instruments.set(metrics.RECORDS_INVALID, answer.dataset.invalid)
        is_open = isinstance(answer, Accepted | Completed)
        self._instruments.set(metrics.REQUEST_AT_WORK, int(is_open))
        if not is_open:
            self._instruments.add(metrics.REQUESTS_ENDED, outcome=LoopOutcome(step))


def _why(answer: LoopAnswer) -> str | None:
    return None if isinstance(answer, Accepted) else answer.why
