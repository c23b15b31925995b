"""The job `features`: a topic of records to a topic of windowed features, by a transform's document."""

from dataclasses import dataclass
from datetime import timedelta

from pyflink.common import Duration, Row, Types, WatermarkStrategy
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import DataStream
from pyflink.table import Schema, StreamTableEnvironment, TableResult
from pyflink.table.udf import udf

from millrace.codec.dead_letters import Circumstances
from millrace.process.deployment import RecordFormat
from millrace.process.settings import KafkaSettings
from millrace.transform import Program
from millrace_flink.functions.windows import READ, WRITTEN, FoldWindows, ReadRecords, WriteFeatures, reading_of
from millrace_flink.topics import java_client, sink_table, source_table


@dataclass(frozen=True, slots=True)
class Features:
    """What is made of what.

    Attributes:
        program: The transform, with one window.
        source: Topic of records.
        form: How its values are written.
        features: Topic of the rows of windows.
        letters: Topic of records that cannot be read.
        silence: How far event time may come, in the part of the topic that a subtask reads, before the windows of a key
            without records close; None waits for the key.
    """

    program: Program
    source: str
    form: RecordFormat
    features: str
    letters: str
    silence: timedelta | None = None

    @property
    def name(self) -> str:
        """Name of the job, its consumer group, and what its transactions are called after."""
        return f"{self.features}-flink"


def make_features(
    tables: StreamTableEnvironment, wanted: Features, kafka: KafkaSettings, *, bounded: bool
) -> TableResult:
    """Submit the job.

    Args:
        tables: A session.
        wanted: What is made of what.
        kafka: The cluster of the topics.
        bounded: Whether to end where the topic ends now; all windows close then.

    Raises:
        RequestError: The Kafka settings cannot be told to Java.
    """
    client = java_client(kafka)
    tables.execute_sql(source_table("records", wanted.source, client, group=wanted.name, bounded=bounded))
    for sink, topic in (("features", wanted.features), ("letters", wanted.letters)):
        tables.execute_sql(sink_table(sink, topic, client, transactions=f"{wanted.name}-{sink}"))
    circumstances = Circumstances(wanted.features, f"{wanted.program.transform.transform}", wanted.name)
    reader = ReadRecords(wanted.program, wanted.source, wanted.form, circumstances)
    tables.create_temporary_function("read_records", udf(reader, result_type=READ, func_type="pandas"))
    writer = WriteFeatures(wanted.program)
    tables.create_temporary_function("write_features", udf(writer, result_type=WRITTEN, func_type="pandas"))
    tables.execute_sql("""CREATE TEMPORARY VIEW decoded AS SELECT `key`, `value`, `timestamp`, read_records(
        `key`, `value`, `partition`, `offset`, `timestamp`, MAP_KEYS(`headers`), MAP_VALUES(`headers`)) AS verdict
        FROM records""")
    tables.execute_sql("""CREATE TEMPORARY VIEW verdicts AS SELECT `key`, `value`, `timestamp`,
        decoded.verdict.readings AS readings, decoded.verdict.names AS names, decoded.verdict.contents AS contents
        FROM decoded""")
    readings = tables.sql_query("SELECT reading FROM verdicts CROSS JOIN UNNEST(readings) AS each_reading (reading)")
    closed = _windows(tables.to_data_stream(readings), wanted)
    tables.create_temporary_view("closed", closed, Schema.new_builder().column("f0", "STRING").build())
    tables.execute_sql("CREATE TEMPORARY VIEW written AS SELECT write_features(f0) AS made FROM closed")
    statements = tables.create_statement_set()
    statements.add_insert_sql("""INSERT INTO features
        SELECT w.`key`, w.`value`, TO_TIMESTAMP_LTZ(w.`at`, 3), CAST(NULL AS MAP<STRING NOT NULL, BYTES>)
        FROM (SELECT written.made.`key` AS `key`, written.made.`value` AS `value`, written.made.`at` AS `at`
              FROM written) AS w WHERE w.`value` IS NOT NULL""")
    statements.add_insert_sql("""INSERT INTO letters
        SELECT `key`, `value`, `timestamp`, MAP_FROM_ARRAYS(names, contents)
        FROM verdicts WHERE CARDINALITY(names) > 0""")
    return statements.execute()


def _windows(readings: DataStream, wanted: Features) -> DataStream:
    if wanted.silence is not None:
        strategy = WatermarkStrategy.for_bounded_out_of_orderness(
            Duration.of_millis(int(wanted.silence / timedelta(milliseconds=1)))
        )
        readings = readings.assign_timestamps_and_watermarks(strategy.with_timestamp_assigner(_EventTime()))
    by_key = readings.key_by(_key, key_type=Types.STRING())
    return by_key.process(FoldWindows(wanted.program), output_type=Types.STRING())


def _key(row: Row) -> str:
    return reading_of(row)[0]


class _EventTime(TimestampAssigner):  # type: ignore[misc]  # PyFlink is untyped
    def extract_timestamp(self, value: Row, record_timestamp: int) -> int:
        return reading_of(value)[1]
