"""The metrics of a materializer: the whole list."""

from typing import Final

from millrace.telemetry.metrics import Kind, MetricSpec, Unit, build_info
from millrace.telemetry.scorer import DURATION_BUCKETS

RECORDS_CONSUMED: Final = MetricSpec(
    "materializer", "consumed", Unit.RECORDS, Kind.COUNTER, "Records that the table has moved past."
)
RECORDS_WRITTEN: Final = MetricSpec(
    "materializer",
    "written",
    Unit.RECORDS,
    Kind.COUNTER,
    "Values written: of several records of a key in one batch only the newest is.",
)
RECORDS_DELETED: Final = MetricSpec(
    "materializer", "deleted", Unit.RECORDS, Kind.COUNTER, "Tombstones that deleted a key, or found none."
)
RECORDS_UNKEYED: Final = MetricSpec(
    "materializer", "unkeyed", Unit.RECORDS, Kind.COUNTER, "Records without a key, which no table can hold."
)
WRITE_DURATION: Final = MetricSpec(
    "materializer",
    "write_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time of one round trip to the online store with a batch of values.",
    (),
    DURATION_BUCKETS,
)
PARTITIONS_MOVED: Final = MetricSpec(
    "materializer",
    "moved",
    Unit.PARTITIONS,
    Kind.COUNTER,
    "Writes refused because the table was elsewhere: another process wrote it, or the store lost data.",
)
PARTITIONS_ASSIGNED: Final = MetricSpec(
    "materializer", "assigned", Unit.PARTITIONS, Kind.GAUGE, "Partitions that this member reads now."
)
CONSUMER_LAG: Final = MetricSpec(
    "materializer",
    "consumer_lag",
    Unit.RECORDS,
    Kind.GAUGE,
    "Records between what was read and the end of the assigned partitions.",
)
READY: Final = MetricSpec(
    "materializer",
    "ready",
    Unit.STATE,
    Kind.GAUGE,
    "Whether partitions are assigned and both the broker and the online store answer.",
)
BUILD: Final = build_info("materializer")

MATERIALIZER: Final = (
    RECORDS_CONSUMED,
    RECORDS_WRITTEN,
    RECORDS_DELETED,
    RECORDS_UNKEYED,
    WRITE_DURATION,
    PARTITIONS_MOVED,
    PARTITIONS_ASSIGNED,
    CONSUMER_LAG,
    READY,
    BUILD,
)
"""Every metric of a materializer process; the others in its exposition are prometheus-client's own."""
