"""The loop's observer: metrics, readiness and log lines."""

from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from millrace.core.lane import LaneStats, Outcome
from millrace.process.health import Health
from millrace.telemetry import scorer as metrics
from millrace.telemetry.metrics import Instruments, MetricSpec
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Scored, Tally

log = structlog.get_logger()

_LANE_COUNTS: Final[tuple[tuple[MetricSpec, str], ...]] = (
    (metrics.REBALANCES, "rebalances"),
    (metrics.PRODUCERS_REBUILT, "producers_rebuilt"),
    (metrics.PARTITIONS_ASSIGNED, "assigned"),
)


class Telemetry:
    """Counts what the loop reports. See `millrace_scorer.logic.ports.Observer`."""

    def __init__(self, instruments: Instruments, health: Health) -> None:
        self._instruments = instruments
        self._health = health
        self._trouble: str | None = None
        self._waiting_for: str | None = None
        self._challenger_trouble: str | None = None

    def polled(self, records: int, *, backlog: int) -> None:
        """Count records and the backlog; a poll that came back means that the broker answers."""
        if self._trouble is not None:
            self._trouble = None
            log.info("broker reachable again")
        self._instruments.add(metrics.RECORDS_CONSUMED, records)
        self._instruments.set(metrics.BACKLOG, backlog)

    def scored(self, scored: Scored, *, queued_seconds: float) -> None:
        """Count a micro-batch and the time of its stages."""
        self._instruments.observe(metrics.BATCH_SIZE, scored.tally.consumed)
        self._instruments.observe(metrics.STAGE_DURATION, queued_seconds, stage=metrics.Stage.QUEUE)
        for stage, seconds in scored.seconds.items():
            self._instruments.observe(metrics.STAGE_DURATION, seconds, stage=stage)
        if scored.bisected:
            self._instruments.add(metrics.BATCHES_BISECTED)
        if scored.tally.shadowed or scored.tally.missed:
            self._note_challenger(scored.challenger_trouble)

    def fetched(self, *, seconds: float, defaulted: int) -> None:
        """Count a round trip to the online store, which is a part of decoding."""
        self._instruments.observe(metrics.ENRICH_DURATION, seconds)
        self._instruments.add(metrics.RECORDS_DEFAULTED, defaulted)

    def settled(self, outcome: Outcome, tally: Tally, *, seconds: float, latency_seconds: NDArray[np.float64]) -> None:
        """Count a transaction, and its records only if they became readable."""
        self._instruments.observe(metrics.STAGE_DURATION, seconds, stage=metrics.Stage.COMMIT)
        if outcome is Outcome.ABORTED:
            log.warning("transaction aborted; its records will be scored again", records=tally.consumed)
            return
        self._instruments.add(metrics.RECORDS_PREDICTED, tally.predicted)
        self._instruments.add(metrics.RECORDS_DEGRADED, tally.degraded)
        self._instruments.add(metrics.RECORDS_SHED, tally.shed)
        self._instruments.add(metrics.ROWS_LEFT_OUT, tally.left_out)
        self._instruments.add(metrics.RECORDS_SHADOWED, tally.shadowed)
        self._instruments.add(metrics.RECORDS_CANARY, tally.canary)
        self._instruments.add(metrics.RECORDS_MISSED, tally.missed)
        for reason, count in tally.dead_lettered.items():
            self._instruments.add(metrics.RECORDS_DEAD_LETTERED, count, reason=reason)
        self._instruments.observe(metrics.END_TO_END_LATENCY, latency_seconds)

    def unreachable(self, reason: str) -> None:
        """Say once that the broker does not answer."""
        if self._trouble is None:
            log.warning("broker not reachable; still asking", reason=reason)
        self._trouble = reason
        self._health.not_ready(reason)

    def suspended(self, reason: str, *, attempt: int) -> None:
        """Say that scoring waits for something outside."""
        log.warning("scoring suspended; the same records will be tried again", reason=reason, attempt=attempt)
        self._instruments.set(metrics.INTAKE_PAUSED, 1)
        self._waiting_for = reason
        self._health.not_ready(reason)

    def resumed(self) -> None:
        """Scoring works again."""
        log.info("scoring resumed")
        self._waiting_for = None
        self._instruments.set(metrics.INTAKE_PAUSED, 0)

    def models(self, lineup: Lineup) -> None:
        """These versions score from now on."""
        champion, trial = lineup.champion, lineup.trial
        labels = {"model": lineup.model, "version": str(champion.version), "digest": champion.digest}
        self._instruments.replace(metrics.MODEL, 1, **labels)
        self._instruments.set(metrics.CHALLENGER, int(trial is not None))
        log.info("model at work", **labels)
        if trial is not None:
            log.info("challenger at work", version=trial.challenger.version, mode=trial.mode.value, share=trial.share)

    def lane(self, stats: LaneStats) -> None:
        """Take over the lane's own counts, and derive readiness from its assignment."""
        for spec, name in _LANE_COUNTS:
            self._instruments.set(spec, getattr(stats, name))
        for outcome, count in (("committed", stats.commits), ("aborted", stats.aborts)):
            self._instruments.set(metrics.TRANSACTIONS, count, outcome=outcome)
        if stats.lag_records is not None:
            self._instruments.set(metrics.CONSUMER_LAG, stats.lag_records)
        if self._trouble is not None:
            return
        if self._waiting_for is not None:
            self._health.not_ready(self._waiting_for)
        elif stats.assigned:
            self._health.ready()
        else:
            self._health.not_ready("no partition is assigned: the group has more members than the topic partitions")
        self._instruments.set(metrics.READY, int(self._health.readiness.holds))

    def _note_challenger(self, trouble: str | None) -> None:
        """Say once that something is wrong with it, and once that nothing is any more."""
        if trouble is not None and self._challenger_trouble is None:
            log.warning("trouble with the challenger; the champion goes on", reason=trouble)
        elif trouble is None and self._challenger_trouble is not None:
            log.info("the challenger is well again")
        self._challenger_trouble = trouble
