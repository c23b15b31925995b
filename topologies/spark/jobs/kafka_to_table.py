"""A topic of JSON records becomes a table of Parquet files; what is new comes with the next run.

    spark-submit kafka_to_table.py --bootstrap HOST:PORT --topic T --schema 'id string, score double' --table URI

Exactly once: offsets are in the checkpoint beside the table, and a file counts when the table's own log names it. Spark
reads such a table without the files of runs that died; another reader takes `_spark_metadata` for what it is. Only
committed records are read. Each row has its coordinates: `topic`, `partition`, `offset`, `timestamp`, `key`.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json


def main() -> None:
    """Read to the end of the topic, and stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--schema", required=True, metavar="DDL", help="of the records, in SQL's words")
    parser.add_argument("--table", required=True, metavar="URI", help="a folder")
    options = parser.parse_args()

    spark = SparkSession.builder.appName(f"{options.topic} to table").getOrCreate()
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", options.bootstrap)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", options.topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .load()
    )
    value = from_json(col("value").cast("string"), options.schema)
    rows = records.select(
        "topic", "partition", "offset", "timestamp", col("key").cast("string").alias("key"), value.alias("value")
    ).select("topic", "partition", "offset", "timestamp", "key", "value.*")
    writing = rows.writeStream.format("parquet").trigger(availableNow=True)
    writing.option("checkpointLocation", f"{options.table}/_checkpoint").start(options.table).awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main()
