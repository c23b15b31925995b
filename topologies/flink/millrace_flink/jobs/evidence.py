"""The job `evidence`: all predictions and labels there are to the evidence of the auditor's join, pane by pane.

An event's records meet by its id in its partition, and then in the pane of its first prediction, where they are counted
at once. So a group is what happened in one pane of one partition, and must fit into a worker's memory.
"""

from pyflink.table import DataTypes, StreamTableEnvironment, TableResult
from pyflink.table.udf import udaf, udf

from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings
from millrace_flink.functions.evidence import EVENTS, LABEL, PREDICTION, Audited, FindEvents, counting, progress
from millrace_flink.topics import java_client, sink_table, source_table


def gather_evidence(
    tables: StreamTableEnvironment, audited: Audited, deployment: Deployment, kafka: KafkaSettings, *, to: str
) -> TableResult:
    """Submit the job; the session is one for batches.

    Args:
        tables: A session.
        audited: What is counted.
        deployment: Whose predictions and labels.
        kafka: The cluster of the topics.
        to: Topic of the evidence.

    Raises:
        RequestError: The Kafka settings cannot be told to Java.
    """
    client, name = java_client(kafka), f"{to}-flink"
    for kind, table, topic in (
        (PREDICTION, "predictions", deployment.predictions_topic),
        (LABEL, "labels", deployment.labels_topic),
    ):
        tables.execute_sql(source_table(f"raw_{table}", topic, client, group=name, bounded=True, whole=True))
        finder = udf(FindEvents(audited, kind), result_type=EVENTS, func_type="pandas")
        tables.create_temporary_function(f"find_{table}", finder)
        tables.execute_sql(
            f"""CREATE TEMPORARY VIEW found_{table} AS
            SELECT `partition`, `offset`, `value`, find_{table}(`value`) AS found FROM raw_{table}"""  # noqa: S608
        )
        tables.execute_sql(
            f"""CREATE TEMPORARY VIEW {table} AS
            SELECT t.`partition`, t.`offset`, t.`value`, t.found.event AS event, t.found.pane AS pane,
                t.found.happened AS happened, {kind} AS kind
            FROM found_{table} AS t WHERE t.found.event IS NOT NULL"""  # noqa: S608
        )
    tables.execute_sql(sink_table("evidence", to, client, transactions=name))
    tables.create_temporary_function(
        "count_pane", udaf(counting(audited), result_type=DataTypes.STRING(), func_type="pandas")
    )
    tables.create_temporary_function("progress", udf(progress, result_type=DataTypes.STRING(), func_type="pandas"))
    for view in (_EVENTS, _FACTS, _PANES, _PROGRESS):
        tables.execute_sql(view)
    return tables.execute_sql(_WRITE)


_EVENTS = """CREATE TEMPORARY VIEW events AS SELECT `partition`, event, pane FROM (
    SELECT `partition`, event, pane, ROW_NUMBER() OVER (PARTITION BY `partition`, event ORDER BY `offset`) AS place
    FROM predictions) WHERE place = 1"""

_FACTS = """CREATE TEMPORARY VIEW facts AS
    SELECT e.`partition`, e.pane, f.kind, f.`offset`, f.`value` FROM (
        SELECT `partition`, event, kind, `offset`, `value` FROM predictions
        UNION ALL SELECT `partition`, event, kind, `offset`, `value` FROM labels) AS f
    JOIN events AS e ON e.`partition` = f.`partition` AND e.event = f.event"""

_PANES = """CREATE TEMPORARY VIEW counted AS
    SELECT count_pane(`partition`, kind, `offset`, `value`) AS lines FROM facts GROUP BY `partition`, pane"""

_PROGRESS = """CREATE TEMPORARY VIEW come AS SELECT progress(`partition`, newest, after_labels) AS lines FROM (
    SELECT p.`partition`, p.newest, COALESCE(l.after_last, 0) AS after_labels
    FROM (SELECT `partition`, MAX(happened) AS newest FROM predictions GROUP BY `partition`) AS p
    LEFT JOIN (SELECT `partition`, MAX(`offset`) + 1 AS after_last FROM raw_labels GROUP BY `partition`) AS l
    ON l.`partition` = p.`partition`)"""

_WRITE = """INSERT INTO evidence
    SELECT ENCODE(SPLIT_INDEX(line, CHR(9), 0), 'UTF-8'), ENCODE(SPLIT_INDEX(line, CHR(9), 1), 'UTF-8'),
        CAST(NULL AS TIMESTAMP_LTZ(3)), CAST(NULL AS MAP<STRING NOT NULL, BYTES>)
    FROM (SELECT lines FROM counted UNION ALL SELECT lines FROM come) AS t
    CROSS JOIN UNNEST(SPLIT(t.lines, CHR(10))) AS each_line (line)"""
