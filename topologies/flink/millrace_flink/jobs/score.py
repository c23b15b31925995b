"""The job `score`: a deployment's topic to its predictions, with the scorer's model, decoder and encoder."""

from pyflink.table import TableEnvironment, TableResult
from pyflink.table.udf import udf

from millrace.process.settings import KafkaSettings
from millrace_flink.functions.model import RESULT, Assignment, ScoreRecords
from millrace_flink.topics import java_client, sink_table, source_table


def score(tables: TableEnvironment, assignment: Assignment, kafka: KafkaSettings, *, bounded: bool) -> TableResult:
    """Submit the job.

    Args:
        tables: A session.
        assignment: What to score, with which model.
        kafka: The cluster of the topics.
        bounded: Whether to end where the topic ends now.

    Raises:
        RequestError: The Kafka settings cannot be told to Java.
    """
    deployment, client = assignment.deployment, java_client(kafka)
    name = deployment.deployment
    tables.execute_sql(
        source_table("records", deployment.source.topic, client, group=deployment.group_id, bounded=bounded)
    )
    for sink, topic in (("predictions", deployment.predictions_topic), ("letters", deployment.dead_letters_topic)):
        tables.execute_sql(sink_table(sink, topic, client, transactions=f"{name}-flink-{sink}"))
    tables.create_temporary_function("score", udf(ScoreRecords(assignment), result_type=RESULT, func_type="pandas"))
    tables.execute_sql("""CREATE TEMPORARY VIEW scored AS SELECT `key`, `value`, `timestamp`, score(
        `key`, `value`, `partition`, `offset`, `timestamp`, MAP_KEYS(`headers`), MAP_VALUES(`headers`)) AS verdict
        FROM records""")
    tables.execute_sql("""CREATE TEMPORARY VIEW verdicts AS SELECT `key`, `value`, `timestamp`,
        scored.verdict.predictions AS answers, scored.verdict.names AS names, scored.verdict.contents AS contents
        FROM scored""")
    statements = tables.create_statement_set()
    statements.add_insert_sql("""INSERT INTO predictions
        SELECT `key`, answer, `timestamp`, CAST(NULL AS MAP<STRING NOT NULL, BYTES>)
        FROM verdicts CROSS JOIN UNNEST(answers) AS each_answer (answer)""")
    statements.add_insert_sql("""INSERT INTO letters
        SELECT `key`, `value`, `timestamp`, MAP_FROM_ARRAYS(names, contents)
        FROM verdicts WHERE CARDINALITY(names) > 0""")
    return statements.execute()
