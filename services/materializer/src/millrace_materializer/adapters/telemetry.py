"""The loop's observer: metrics, readiness and log lines."""

from collections.abc import Collection

import structlog

from millrace.process.health import Health
from millrace.telemetry import materializer as metrics
from millrace.telemetry.metrics import Instruments

log = structlog.get_logger()


class Telemetry:
    """Counts and says what the loop reports. See `millrace_materializer.logic.ports.Observer`."""

    def __init__(self, instruments: Instruments, health: Health) -> None:
        self._instruments = instruments
        self._health = health

    def written(self, *, consumed: int, values: int, deleted: int, unkeyed: int, seconds: float) -> None:
        """Count a round trip."""
        self._instruments.observe(metrics.WRITE_DURATION, seconds)
        self._instruments.add(metrics.RECORDS_CONSUMED, consumed)
        self._instruments.add(metrics.RECORDS_WRITTEN, values)
        self._instruments.add(metrics.RECORDS_DELETED, deleted)
        self._instruments.add(metrics.RECORDS_UNKEYED, unkeyed)

    def moved(self, partitions: Collection[int]) -> None:
        """Say that the table was elsewhere, which is rare."""
        log.warning("the table is elsewhere; reading on from where it is", partitions=sorted(partitions))
        self._instruments.add(metrics.PARTITIONS_MOVED, len(partitions))

    def away(self, reason: str, *, attempt: int) -> None:
        """Say that the online store does not answer; the first time only, the rest is on `/readyz`."""
        if attempt == 1:
            log.warning("the online store cannot be written; trying again", reason=reason)
        self._not_ready(reason)

    def unreachable(self, reason: str) -> None:
        """Say that the broker does not answer, once."""
        if self._health.readiness.reason != reason:
            log.warning("broker not reachable; still asking", reason=reason)
        self._not_ready(reason)

    def working(self, owned: int) -> None:
        """Everything answers."""
        self._instruments.set(metrics.PARTITIONS_ASSIGNED, owned)
        if not owned:
            self._not_ready("no partition is assigned: the group has more members than the topic partitions")
            return
        if not self._health.readiness.holds:
            log.info("at work", partitions=owned)
        self._health.ready()
        self._instruments.set(metrics.READY, 1)

    def lag(self, records: int | None) -> None:
        """Take over how far there is to go."""
        if records is not None:
            self._instruments.set(metrics.CONSUMER_LAG, records)

    def _not_ready(self, reason: str) -> None:
        self._health.not_ready(reason)
        self._instruments.set(metrics.READY, 0)
