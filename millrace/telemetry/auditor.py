"""The metrics of an auditor: the whole list. Its lanes' are in `millrace.telemetry.scorer`."""

from enum import StrEnum
from typing import Final

from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit, build_info
from millrace.telemetry.scorer import DURATION_BUCKETS, TransactionOutcome


class Role(StrEnum):
    """The parts of an auditor."""

    JOIN = "join"
    """Predictions and labels become evidence."""
    JUDGE = "judge"
    """Evidence becomes reports, alerts and requests."""
    ROLLOUT = "rollout"
    """Two versions' answers and labels become the end of a rollout."""


class RolloutResult(StrEnum):
    """What was done at the end of a rollout."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    KEPT = "kept"
    PROPOSED = "proposed"
    SUPERSEDED = "superseded"


class Input(StrEnum):
    """What the join reads."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


class UnjoinedReason(StrEnum):
    """Why a record is not part of any report."""

    LATE_LABEL = "late_label"
    ORPHAN = "orphan"
    LATE_PREDICTION = "late_prediction"
    UNREADABLE = "unreadable"


class ReportStage(StrEnum):
    """How complete the window of a report was."""

    CLOSED = "closed"
    MATURE = "mature"
    AMENDED = "amended"


_ROLE: Final = Label("role", tuple(Role))

RECORDS_JOINED: Final = MetricSpec(
    "auditor",
    "joined",
    Unit.RECORDS,
    Kind.COUNTER,
    "Predictions and labels read, with those read again after a restart.",
    (Label("input", tuple(Input)),),
)
RECORDS_UNJOINED: Final = MetricSpec(
    "auditor",
    "unjoined",
    Unit.RECORDS,
    Kind.COUNTER,
    "Records that no report counts, by reason; they are in the unjoined topic.",
    (Label("reason", tuple(UnjoinedReason)),),
)
RECORDS_OF_OTHERS: Final = MetricSpec(
    "auditor", "other_model", Unit.RECORDS, Kind.COUNTER, "Predictions of another model, which are not audited."
)
EVENTS_HELD: Final = MetricSpec(
    "auditor", "held", Unit.RECORDS, Kind.GAUGE, "Events whose label or correction may still come."
)
EVENTS_HELD_LIMIT: Final = MetricSpec(
    "auditor", "held_limit", Unit.RECORDS, Kind.GAUGE, "Most events held per partition; beyond it the auditor stops."
)
MEMORY_HELD: Final = MetricSpec(
    "auditor", "held", Unit.BYTES, Kind.GAUGE, "Memory of the events held, without their ids."
)
LABELS_BEHIND: Final = MetricSpec(
    "auditor",
    "labels_behind",
    Unit.SECONDS,
    Kind.GAUGE,
    "Event time between the newest prediction and the time up to which labels were read.",
)
TRANSACTION_DURATION: Final = MetricSpec(
    "auditor",
    "transaction_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time to write and commit one transaction, the join's snapshot included.",
    (_ROLE,),
    DURATION_BUCKETS,
)
TRANSACTIONS: Final = MetricSpec(
    "auditor",
    "",
    Unit.TRANSACTIONS,
    Kind.COUNTER,
    "Transactions ended, by outcome.",
    (_ROLE, Label("outcome", tuple(TransactionOutcome))),
)
REPORTS: Final = MetricSpec(
    "auditor", "report", Unit.RECORDS, Kind.COUNTER, "Reports written.", (Label("stage", tuple(ReportStage)),)
)
ALERTS: Final = MetricSpec("auditor", "alert", Unit.RECORDS, Kind.COUNTER, "Changes of alerts written.")
REQUESTS: Final = MetricSpec("auditor", "retrain_request", Unit.RECORDS, Kind.COUNTER, "Retrain requests written.")
REQUESTS_BLOCKED: Final = MetricSpec(
    "auditor", "retrain_blocked", Unit.RECORDS, Kind.COUNTER, "Checks that kept a retrain request from being written."
)
ROLLOUTS: Final = MetricSpec(
    "auditor",
    "rollout",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rollouts ended, by result.",
    (Label("result", tuple(RolloutResult)),),
)
PAIRS: Final = MetricSpec(
    "auditor", "pairs", Unit.RECORDS, Kind.GAUGE, "Labelled events compared in the rollout that is on; 0 while none is."
)
PARTITIONS: Final = MetricSpec(
    "auditor", "assigned", Unit.PARTITIONS, Kind.GAUGE, "Partitions that this auditor reads now.", (_ROLE,)
)
LAG: Final = MetricSpec(
    "auditor",
    "lag",
    Unit.RECORDS,
    Kind.GAUGE,
    "Records of the role's input between what is done and the end.",
    (_ROLE,),
)
READY: Final = MetricSpec("auditor", "ready", Unit.STATE, Kind.GAUGE, "Whether the broker answers.")
BUILD: Final = build_info("auditor")

AUDITOR: Final = (
    RECORDS_JOINED,
    RECORDS_UNJOINED,
    RECORDS_OF_OTHERS,
    EVENTS_HELD,
    EVENTS_HELD_LIMIT,
    MEMORY_HELD,
    LABELS_BEHIND,
    TRANSACTION_DURATION,
    TRANSACTIONS,
    REPORTS,
    ALERTS,
    REQUESTS,
    REQUESTS_BLOCKED,
    ROLLOUTS,
    PAIRS,
    PARTITIONS,
    LAG,
    READY,
    BUILD,
)
"""Every metric of an auditor; the others in its exposition are prometheus-client's own."""
