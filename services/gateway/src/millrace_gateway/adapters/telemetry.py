"""What happens at the doors of inference, as metrics, statistics and readiness."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from millrace.core.clock import Clock
from millrace.kafka.connection import Link
from millrace.telemetry import inference as metrics
from millrace.telemetry.metrics import Instruments
from millrace_gateway.logic.statistics import ModelStatistics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchTelemetry:
    """Told by the batcher of one model version. See `millrace_gateway.adapters.batching.Observer`."""

    instruments: Instruments
    statistics: ModelStatistics
    deployment: str
    clock: Clock

    def scored(self, *, requests: int, rows: int, waited: timedelta, took: timedelta) -> None:
        """A micro-batch was scored."""
        found = self.statistics
        found.rows += rows
        found.executions += 1
        found.last_ms = self.clock.wall_ms()
        found.waited.add(waited, times=requests)
        found.inferred.add(took)
        say, name = self.instruments, self.deployment
        say.observe(metrics.BATCH_ROWS, rows, deployment=name)
        say.add(metrics.BATCH_REQUESTS, requests, deployment=name)
        say.observe(metrics.STAGE_DURATION, waited.total_seconds(), deployment=name, stage=metrics.Stage.WAIT)
        say.observe(metrics.STAGE_DURATION, took.total_seconds(), deployment=name, stage=metrics.Stage.INFER)

    def late(self, requests: int) -> None:
        """Deadlines passed."""
        self.instruments.add(metrics.LATE, requests, deployment=self.deployment)


def note_answered(instruments: Instruments, deployment: str, seconds: float) -> None:
    """A request was answered in this time."""
    instruments.observe(metrics.REQUEST_DURATION, seconds, deployment=deployment)


class RolloutTelemetry:
    """Told what a challenger does. See `millrace_gateway.logic.rollout.OnTried`."""

    def __init__(self, instruments: Instruments, deployment: str) -> None:
        self._instruments = instruments
        self._deployment = deployment
        self._trouble: str | None = None

    def __call__(self, *, paired: int, missed: int, trouble: str | None) -> None:
        """It scored rows, and missed others. What is wrong with it is logged when it begins and when it ends."""
        if paired:
            self._instruments.add(metrics.PAIRED, paired, deployment=self._deployment)
        if missed:
            self._instruments.add(metrics.CHALLENGER_MISSED, missed, deployment=self._deployment)
        if trouble is not None and self._trouble is None:
            log.warning("the challenger does not answer", deployment=self._deployment, reason=trouble)
        if trouble is None and self._trouble is not None:
            log.info("the challenger answers again", deployment=self._deployment)
        self._trouble = trouble


@dataclass(frozen=True, slots=True)
class JournalTelemetry:
    """Told by the journal's thread. See `millrace_gateway.adapters.journal.Observer`."""

    instruments: Instruments

    def written(self, rows: int) -> None:
        """Rows are acknowledged."""
        self.instruments.add(metrics.LOGGED, rows)

    def unwritten(self, rows: int, reason: str) -> None:
        """Rows are lost to the log."""
        self.instruments.add(metrics.UNLOGGED, rows)
        log.warning("answers were not logged", rows=rows, reason=reason)

    def link(self, link: Link) -> None:
        """The broker went away, or came back."""
        if link is Link.AWAY:
            log.warning("the broker went away")
        else:
            log.info("the broker answers")
