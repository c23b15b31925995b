"""The metrics of a scorer and of the lane it runs on: the whole list."""

from enum import StrEnum
from typing import Final

from millrace.core.errors import Reason
from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit, build_info


class Stage(StrEnum):
    """The parts of a micro-batch's way through a scorer, in their order."""

    QUEUE = "queue"
    """From the poll that brought the oldest record to the start of decoding."""
    DECODE = "decode"
    INFER = "infer"
    ENCODE = "encode"
    COMMIT = "commit"


class TransactionOutcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"


LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds. Fine around the latency goals that people set; a minute and more is a backlog, which lag shows better."""

DURATION_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10)
"""Seconds."""

BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Records."""

RECORDS_CONSUMED: Final = MetricSpec(
    "scorer", "consumed", Unit.RECORDS, Kind.COUNTER, "Records polled, with those polled again after an abort."
)
RECORDS_PREDICTED: Final = MetricSpec(
    "scorer", "predicted", Unit.RECORDS, Kind.COUNTER, "Predictions written in transactions that were committed."
)
RECORDS_DEAD_LETTERED: Final = MetricSpec(
    "scorer",
    "dead_letter",
    Unit.RECORDS,
    Kind.COUNTER,
    "Records that cannot be scored, committed to the dead letter queue, by reason.",
    (Label("reason", tuple(Reason)),),
)
RECORDS_SHED: Final = MetricSpec(
    "scorer", "shed", Unit.RECORDS, Kind.COUNTER, "Records too old to be scored, committed to the late topic."
)
ROWS_LEFT_OUT: Final = MetricSpec(
    "scorer",
    "left_out",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows that a filter of the model's transform left out, in transactions that were committed.",
)
RECORDS_DEGRADED: Final = MetricSpec(
    "scorer", "degraded", Unit.RECORDS, Kind.COUNTER, "Predictions committed that the cheaper variant made."
)
RECORDS_SHADOWED: Final = MetricSpec(
    "scorer",
    "shadowed",
    Unit.RECORDS,
    Kind.COUNTER,
    "Predictions committed with another version's answer beside them, in the shadows topic.",
)
RECORDS_CANARY: Final = MetricSpec(
    "scorer", "canary", Unit.RECORDS, Kind.COUNTER, "Predictions committed that a canary's challenger made."
)
RECORDS_MISSED: Final = MetricSpec(
    "scorer",
    "challenger_missed",
    Unit.RECORDS,
    Kind.COUNTER,
    "Predictions committed without the part that the challenger should have had: it failed, or was slow.",
)
BATCH_SIZE: Final = MetricSpec(
    "scorer", "batch_size", Unit.RECORDS, Kind.HISTOGRAM, "Records of a micro-batch.", (), BATCH_BUCKETS
)
STAGE_DURATION: Final = MetricSpec(
    "scorer",
    "stage_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time that a micro-batch spends in a stage.",
    (Label("stage", tuple(Stage)),),
    DURATION_BUCKETS,
)
END_TO_END_LATENCY: Final = MetricSpec(
    "scorer",
    "end_to_end_latency",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "From a record's timestamp to the commit that makes its prediction readable.",
    (),
    LATENCY_BUCKETS,
)
ENRICH_DURATION: Final = MetricSpec(
    "scorer",
    "enrich_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time of one round trip to the online store for a micro-batch; a part of decoding.",
    (),
    DURATION_BUCKETS,
)
RECORDS_DEFAULTED: Final = MetricSpec(
    "scorer",
    "defaulted",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows for which the online store had no value, or none young enough, and that were scored with defaults.",
)
BACKLOG: Final = MetricSpec(
    "scorer", "backlog", Unit.RECORDS, Kind.GAUGE, "Records polled and not yet scored, at most the backlog limit."
)
BACKLOG_LIMIT: Final = MetricSpec(
    "scorer", "backlog_limit", Unit.RECORDS, Kind.GAUGE, "Backlog at which the input partitions are paused."
)
BATCHES_BISECTED: Final = MetricSpec(
    "scorer", "bisected", Unit.BATCHES, Kind.COUNTER, "Micro-batches that failed whole and were scored in parts."
)
INTAKE_PAUSED: Final = MetricSpec(
    "scorer", "intake_paused", Unit.STATE, Kind.GAUGE, "Whether the input partitions are paused: backlog or a retry."
)
READY: Final = MetricSpec(
    "scorer", "ready", Unit.STATE, Kind.GAUGE, "Whether the scorer is scoring: model loaded, partitions assigned."
)
MODEL: Final = MetricSpec(
    "scorer",
    "model",
    Unit.INFO,
    Kind.GAUGE,
    "The model version that scores.",
    (Label("model"), Label("version"), Label("digest")),
)
CHALLENGER: Final = MetricSpec(
    "scorer", "challenger", Unit.STATE, Kind.GAUGE, "Whether a challenger is tried beside the model that scores."
)
BUILD: Final = build_info("scorer")
CONSUMER_LAG: Final = MetricSpec(
    "lane",
    "consumer_lag",
    Unit.RECORDS,
    Kind.GAUGE,
    "Records between what is done and the end of the assigned partitions.",
)
TRANSACTIONS: Final = MetricSpec(
    "lane",
    "",
    Unit.TRANSACTIONS,
    Kind.COUNTER,
    "Transactions ended, by outcome; with at_least_once delivery, commits of offsets.",
    (Label("outcome", tuple(TransactionOutcome)),),
)
REBALANCES: Final = MetricSpec(
    "lane", "", Unit.REBALANCES, Kind.COUNTER, "Changes of the partitions that this member reads."
)
PRODUCERS_REBUILT: Final = MetricSpec(
    "lane",
    "rebuilt",
    Unit.PRODUCERS,
    Kind.COUNTER,
    "Producers destroyed and built again, because the outcome of a call was unknown or another process took the id.",
)
PARTITIONS_ASSIGNED: Final = MetricSpec(
    "lane", "assigned", Unit.PARTITIONS, Kind.GAUGE, "Partitions that this member reads now."
)

SCORER: Final = (
    RECORDS_CONSUMED,
    RECORDS_PREDICTED,
    RECORDS_DEAD_LETTERED,
    RECORDS_SHED,
    ROWS_LEFT_OUT,
    RECORDS_DEGRADED,
    RECORDS_SHADOWED,
    RECORDS_CANARY,
    RECORDS_MISSED,
    BATCH_SIZE,
    STAGE_DURATION,
    END_TO_END_LATENCY,
    ENRICH_DURATION,
    RECORDS_DEFAULTED,
    BACKLOG,
    BACKLOG_LIMIT,
    BATCHES_BISECTED,
    INTAKE_PAUSED,
    READY,
    MODEL,
    CHALLENGER,
    BUILD,
    CONSUMER_LAG,
    TRANSACTIONS,
    REBALANCES,
    PRODUCERS_REBUILT,
    PARTITIONS_ASSIGNED,
)
"""Every metric of a scorer process; the others in its exposition are prometheus-client's own."""
