"""The metrics of a trainer: the whole list."""

from enum import StrEnum
from typing import Final

from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit, build_info


class TrainingStage(StrEnum):
    """The parts of a training, in their order."""

    MATERIALISE = "materialise"
    TRAIN = "train"
    EVALUATE = "evaluate"


class LoopOutcome(StrEnum):
    """How a request ended."""

    REJECTED = "rejected"
    FAILED = "failed"
    REFUSED = "refused"
    PROPOSED = "proposed"
    PROMOTED = "promoted"


DURATION_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200)
"""Seconds."""

REQUESTS_ENDED: Final = MetricSpec(
    "trainer",
    "ended",
    Unit.REQUESTS,
    Kind.COUNTER,
    "Retrain requests that were answered for good, by outcome.",
    (Label("outcome", tuple(LoopOutcome)),),
)
REQUEST_AT_WORK: Final = MetricSpec(
    "trainer", "at_work", Unit.STATE, Kind.GAUGE, "Whether a retrain request is being worked on."
)
STAGE_DURATION: Final = MetricSpec(
    "trainer",
    "stage_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time that a training spends in a stage that was finished.",
    (Label("stage", tuple(TrainingStage)),),
    DURATION_BUCKETS,
)
ROWS_TRAINED: Final = MetricSpec(
    "trainer", "trained", Unit.RECORDS, Kind.GAUGE, "Labelled records that the last candidate learned from."
)
RECORDS_INVALID: Final = MetricSpec(
    "trainer", "invalid", Unit.RECORDS, Kind.GAUGE, "Features and labels of the last training that cannot be read."
)
READY: Final = MetricSpec("trainer", "ready", Unit.STATE, Kind.GAUGE, "Whether the trainer reads requests.")
BUILD: Final = build_info("trainer")

TRAINER: Final = (
    REQUESTS_ENDED,
    REQUEST_AT_WORK,
    STAGE_DURATION,
    ROWS_TRAINED,
    RECORDS_INVALID,
    READY,
    BUILD,
)
"""Every metric of a trainer process; the others in its exposition are prometheus-client's own."""
