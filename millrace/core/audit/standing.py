"""Where a model version stands: what the decision rules remember about it from one report to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from millrace.core.audit.decisions import AlertKey, OpenAlert, Signal
from millrace.core.audit.windows import NO_TIME


class Health(StrEnum):
    """One word for the state of a version."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DEGRADED = "degraded"
    RETRAIN_REQUESTED = "retrain_requested"
    COOLDOWN = "cooldown"


@dataclass(frozen=True, slots=True)
class Guard:
    """The time after a promotion: until when, and what the previous version was good for.

    That is its baseline, or what it had come to if that is worse: to roll back to it would not help.
    """

    until_ms: int
    baseline: float


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that nobody has answered yet: its loop, and until when it counts as open."""

    loop_id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the rules remember about one model version.

    Attributes:
        alerts: Alerts that are raised.
        suspicions: Whether each of the last closed windows was suspicious by estimate and drift, newest last.
        degraded_ms: Starts of the latest mature windows in a row whose effect was large enough.
        open_request: The request that waits for its answer; None where none does.
        requests_ms: When requests were made in the last day.
        cooldown_until_ms: Before this time there is no further request.
        from_ms: Start of the first mature window; None before there is one.
        predictions: Predictions in mature windows; those of overlapping windows once.
        labelled: Labelled events in them.
        counted_until_ms: End of the last window that these two count.
        labelled_at_request: How many of them there were at the last request.
        since_ms: When this version, or the time since its last request, began.
        has_labels: Whether the newest mature window had labels enough.
        observed: The watched metric in the newest mature window with labels; None before there is one.
        guard: The guard period after a promotion.
    """

    alerts: Mapping[AlertKey, OpenAlert] = field(default_factory=dict)
    suspicions: tuple[bool, ...] = ()
    degraded_ms: tuple[int, ...] = ()
    open_request: OpenRequest | None = None
    requests_ms: tuple[int, ...] = ()
    cooldown_until_ms: int = NO_TIME
    from_ms: int | None = None
    predictions: int = 0
    labelled: int = 0
    counted_until_ms: int = NO_TIME
    labelled_at_request: int = 0
    since_ms: int | None = None
    has_labels: bool = False
    observed: float | None = None
    guard: Guard | None = None

    def has_open_request(self, at_ms: int) -> bool:
        """Whether a request waits for its answer at this event time."""
        return self.open_request is not None and at_ms < self.open_request.until_ms

    def health(self, at_ms: int) -> Health:
        """One word for it, at this event time."""
        if self.has_open_request(at_ms):
            return Health.RETRAIN_REQUESTED
        if at_ms < self.cooldown_until_ms:
            return Health.COOLDOWN
        if any(key[0] is Signal.PERFORMANCE for key in self.alerts):
            return Health.DEGRADED
        return Health.SUSPECT if self.alerts else Health.HEALTHY
