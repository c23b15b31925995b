"""The loops' observer: metrics, readiness and log lines."""

from collections.abc import Mapping, Sequence

import structlog

from millrace.core.lane import LaneStats, Outcome
from millrace.process.health import Health
from millrace.telemetry import auditor as metrics
from millrace.telemetry.metrics import Instruments
from millrace_auditor.logic.rollout_documents import Decision

log = structlog.get_logger()


class Telemetry:
    """Counts what the loops report. See `millrace_auditor.logic.ports.Observer`."""

    def __init__(self, instruments: Instruments, health: Health) -> None:
        self._instruments = instruments
        self._health = health
        self._trouble: str | None = None

    def joined(self, predictions: int, labels: int, *, unjoined: Mapping[str, int], others: int) -> None:
        """Count records; what is set aside is worth a line."""
        self._instruments.add(metrics.RECORDS_JOINED, predictions, input=metrics.Input.PREDICTIONS)
        self._instruments.add(metrics.RECORDS_JOINED, labels, input=metrics.Input.LABELS)
        self._instruments.add(metrics.RECORDS_OF_OTHERS, others)
        for reason, count in unjoined.items():
            self._instruments.add(metrics.RECORDS_UNJOINED, count, reason=reason)
        if unjoined:
            log.info("records set aside", **unjoined)

    def held(self, events: int, size_bytes: int, *, behind_secs: float) -> None:
        """What is held in memory."""
        self._instruments.set(metrics.EVENTS_HELD, events)
        self._instruments.set(metrics.MEMORY_HELD, size_bytes)
        self._instruments.set(metrics.LABELS_BEHIND, behind_secs)

    def settled(self, role: str, outcome: Outcome, *, seconds: float) -> None:
        """Count a transaction."""
        self._reachable()
        self._instruments.observe(metrics.TRANSACTION_DURATION, seconds, role=role)
        self._instruments.add(metrics.TRANSACTIONS, role=role, outcome=outcome.name.lower())
        if outcome is Outcome.ABORTED:
            log.warning("transaction aborted; its records will be read again", role=role)

    def restored(self, role: str, what: Mapping[str, int]) -> None:
        """Say where a role continues."""
        log.info("taken up", role=role, **what)

    def judged(self, stage: str, alerts: Sequence[str], *, requests: int, blocked: int) -> None:
        """Count a report and what followed from it."""
        self._instruments.add(metrics.REPORTS, stage=stage)
        self._instruments.add(metrics.ALERTS, len(alerts))
        self._instruments.add(metrics.REQUESTS, requests)
        self._instruments.add(metrics.REQUESTS_BLOCKED, blocked)
        for alert in alerts:
            log.warning("alert", alert=alert)
        if requests:
            log.warning("retraining requested")

    def unreachable(self, reason: str) -> None:
        """Say once that the broker does not answer."""
        if self._trouble is None:
            log.warning("broker not reachable; still asking", reason=reason)
        self._trouble = reason
        self._health.not_ready(reason)
        self._instruments.set(metrics.READY, 0)

    def lane(self, role: metrics.Role, stats: LaneStats) -> None:
        """Take over a lane's own counts."""
        self._instruments.set(metrics.PARTITIONS, stats.assigned, role=role)
        if stats.lag_records is not None:
            self._instruments.set(metrics.LAG, stats.lag_records, role=role)
        if stats.assigned:
            self._reachable()

    def _reachable(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("broker reachable again")
        self._health.ready()
        self._instruments.set(metrics.READY, 1)


class RolloutTelemetry:
    """Counts what the loops of a rollout report: what both roles do alike as theirs, and no record twice.

    See `millrace_auditor.logic.ports.Observer` and `millrace_auditor.logic.rollout.RolloutObserver`.
    """

    def __init__(self, telemetry: Telemetry, instruments: Instruments) -> None:
        self._telemetry = telemetry
        self._instruments = instruments

    def joined(self, predictions: int, labels: int, *, unjoined: Mapping[str, int], others: int) -> None:
        """The join of reports counts the same events."""

    def held(self, events: int, size_bytes: int, *, behind_secs: float) -> None:
        """The join of reports is the one that matters: it holds all events."""

    def settled(self, role: str, outcome: Outcome, *, seconds: float) -> None:
        """Count a transaction."""
        self._telemetry.settled(metrics.Role.ROLLOUT, outcome, seconds=seconds)

    def restored(self, role: str, what: Mapping[str, int]) -> None:
        """Say where a loop continues."""
        self._telemetry.restored(role, what)

    def judged(self, stage: str, alerts: Sequence[str], *, requests: int, blocked: int) -> None:
        """Nothing is reported here."""

    def compared(self, pairs: int) -> None:
        """Show how far the rollout is."""
        self._instruments.set(metrics.PAIRS, pairs)

    def decided(self, decision: Decision) -> None:
        """Count a decision, and say it."""
        result = decision.result.value
        self._instruments.add(metrics.ROLLOUTS, result=result)
        pairing = decision.pairing
        log.warning(
            "rollout ended", result=result, champion=pairing.champion, challenger=pairing.challenger, why=decision.why
        )

    def unreachable(self, reason: str) -> None:
        """Say once that the broker does not answer."""
        self._telemetry.unreachable(reason)
