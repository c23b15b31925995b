"""What the auditor publishes besides reports: alerts and retrain requests."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from millrace.core.audit.report import Json, canonical_json, document_id, figure, iso
from millrace.core.audit.windows import milliseconds
from millrace.core.errors import RequestError


class Signal(StrEnum):
    """What an alert is about."""

    QUALITY = "quality"
    PERFORMANCE = "performance"
    ESTIMATE = "estimate"
    DRIFT = "drift"
    ROLLBACK_ADVICE = "rollback_advice"


class AlertState(StrEnum):
    """What has happened to an alert."""

    RAISED = "raised"
    ESCALATED = "escalated"
    CLEARED = "cleared"


class RetrainReason(StrEnum):
    """Why a better version is asked for."""

    PERFORMANCE = "performance"
    ESTIMATE_AND_DRIFT = "estimate+drift"
    VOLUME = "volume"
    SCHEDULE = "schedule"
    MANUAL = "manual"


CHECKS: Final = ("quality_ok", "cooldown_ok", "no_open_request", "daily_limit_ok", "min_labels_ok")
"""What can block a retrain request."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to alert, and when to ask for a better version. Times are event time, taken from the watermark.

    Attributes:
        metric: The metric whose degradation counts: `error_rate`, or `mae` for regression.
        min_effect: The least relative degradation that matters.
        min_samples: The fewest labelled events that a decision and a training may rest on.
        drift_floor: The least Jensen-Shannon distance beyond chance that matters: with large windows everything is
            significant.
        label_threshold_steps: c of the performance detector, in panes; at most one false alarm in so many on average.
        drift_threshold_steps: c of the drift detector, in windows.
        clear_after: Closed windows with an effect below half the floor after which an alert is cleared.
        min_coverage: Mature windows with less coverage count as not labelled.
        suspicions: Of the last three closed windows so many must be suspicious before the estimate counts.
        cooldown: Time between two requests.
        max_requests_per_day: The most requests in any 24 hours.
        request_ttl: An unanswered request no longer counts as open after this time.
        volume: Labelled events after which to retrain without any other reason; None for never.
        schedule: Time after which to retrain without any other reason; None for never.
        guard: Time after a promotion in which a hard fall advises to roll back.
        hard_fall: The relative degradation against the previous version's baseline that is a hard fall.
    """

    metric: str = "error_rate"
    min_effect: float = 0.10
    min_samples: int = 300
    drift_floor: float = 0.05
    label_threshold_steps: float = 1e4
    drift_threshold_steps: float = 1e3
    clear_after: int = 3
    min_coverage: float = 0.1
    suspicions: int = 2
    cooldown: timedelta = timedelta(days=1)
    max_requests_per_day: int = 3
    request_ttl: timedelta = timedelta(days=7)
    volume: int | None = None
    schedule: timedelta | None = None
    guard: timedelta = timedelta(days=1)
    hard_fall: float = 0.5

    def __post_init__(self) -> None:
        if self.min_effect <= 0 or self.drift_floor <= 0 or self.clear_after < 1 or self.min_samples < 1:
            raise RequestError(
                "the audit policy has an effect, floor, clear-after or sample size of zero or less",
                remedy="every one of them must be positive",
            )
        if min(self.label_threshold_steps, self.drift_threshold_steps) < 1:
            raise RequestError("the audit policy has a threshold below 1", remedy="give the steps to a false alarm")

    def to_dict(self) -> Json:
        """The policy as a document, durations in milliseconds."""
        return {
            name: milliseconds(value) if isinstance(value, timedelta) else value for name, value in asdict(self).items()
        }

    @property
    def id(self) -> str:
        """Equal for equal policies."""
        return document_id("policy", canonical_json(self.to_dict()).decode())


@dataclass(frozen=True, slots=True)
class Alert:
    """A change of one alert's state.

    Attributes:
        state: What happened to it.
        signal: What it is about.
        model: The model.
        version: Its version.
        feature: The feature; empty where it is about none.
        metric: The metric or check; empty where it is about none.
        window_start_ms: The window that decided.
        window_end_ms: Its end.
        effect: Size of the effect: a distance, a relative degradation, or how much of a limit is missing.
        log_evidence: Logarithm of the evidence; minus infinity where the alert needs none.
        threshold: The evidence asked for, also the mean run length to a false alarm in steps; 0 where none is needed.
        report_id: The report that decided.
        note: What a reader should know, in one line.
    """

    state: AlertState
    signal: Signal
    model: str
    version: int
    feature: str
    metric: str
    window_start_ms: int
    window_end_ms: int
    effect: float
    log_evidence: float
    threshold: float
    report_id: str
    note: str = ""

    @property
    def id(self) -> str:
        """Equal for equal decisions, so that a replay repeats no alert."""
        return document_id(
            self.model, self.version, self.signal, self.feature, self.metric, self.state, iso(self.window_end_ms)
        )

    def to_dict(self) -> Json:
        """The document of topic `millrace.alerts`."""
        return {
            "type": "alert.v1",
            "id": self.id,
            "state": self.state.value,
            "signal": self.signal.value,
            "model": self.model,
            "version": self.version,
            "segment": "*",
            "feature": self.feature,
            "metric": self.metric,
            "windows": [iso(self.window_start_ms)],
            "effect": figure(self.effect),
            "evidence": exponential(self.log_evidence),
            "log_evidence": figure(self.log_evidence),
            "threshold": figure(self.threshold),
            "arl": figure(self.threshold),
            "report_ids": [self.report_id],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Trigger:
    """The figures that a request rests on."""

    signal: str
    baseline: float | None = None
    observed: float | None = None
    log_evidence: float = -math.inf
    threshold: float = 0.0
    windows_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What there is to train on.

    Attributes:
        from_ms: Start of the first mature window of this version.
        to_ms: End of the newest.
        labelled: Labelled events between the two.
        coverage: Labelled share of their predictions.
        by_score_bin: Labelled share per tenth of the score range in the deciding window, so that selective labelling
            is visible.
    """

    from_ms: int
    to_ms: int
    labelled: int
    coverage: float
    by_score_bin: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """The auditor asks for a better version; the trainer answers under the same `loop_id`."""

    model: str
    version: int
    reason: RetrainReason
    trigger: Trigger
    alert_ids: tuple[str, ...]
    data: TrainingData
    at_ms: int
    expires_ms: int
    policy_id: str

    @property
    def id(self) -> str:
        """Equal for equal decisions: a replay asks for nothing twice."""
        return document_id(self.model, self.version, self.trigger.signal, iso(self.data.to_ms), self.policy_id)

    @property
    def loop_id(self) -> str:
        """Names the loop that this request opens."""
        return document_id("loop", self.id)

    def to_dict(self) -> Json:
        """The document of topic `millrace.retrain-requests`."""
        trigger, data = self.trigger, self.data
        return {
            "type": "retrain.requested.v1",
            "id": self.id,
            "loop_id": self.loop_id,
            "model": self.model,
            "version": self.version,
            "reason": self.reason.value,
            "trigger": {
                "signal": trigger.signal,
                "baseline": figure(trigger.baseline),
                "observed": figure(trigger.observed),
                "evidence": exponential(trigger.log_evidence),
                "log_evidence": figure(trigger.log_evidence),
                "threshold": figure(trigger.threshold),
                "arl_steps": figure(trigger.threshold),
                "windows": list(map(iso, trigger.windows_ms)),
            },
            "alerts": list(self.alert_ids),
            "data": {
                "from": iso(data.from_ms),
                "to": iso(data.to_ms),
                "labelled": data.labelled,
                "coverage": figure(data.coverage),
                "by_score_bin": [figure(share) for share in data.by_score_bin],
                "label_snapshot_offsets": {},
            },
            "blockers_checked": list(CHECKS),
            "not_before": iso(self.at_ms),
            "expires": iso(self.expires_ms),
        }


def exponential(log_value: float) -> float | None:
    """The value of a logarithm where a float holds it; None beyond."""
    return figure(math.exp(log_value)) if log_value < 700 else None


AlertKey = tuple[Signal, str, str]
"""Signal, feature, metric: what can be raised only once at a time."""

OpenAlerts = Mapping[AlertKey, "OpenAlert"]


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that has been raised and not yet cleared.

    Attributes:
        effect: The effect when it was raised.
        alert_id: The alert's id when it was raised.
        quiet_windows: How many windows in a row had an effect below half the floor.
        is_escalated: Whether it has been escalated.
    """

    effect: float
    alert_id: str
    quiet_windows: int = 0
    is_escalated: bool = False
