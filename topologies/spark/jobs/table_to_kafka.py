"""A table of Parquet files becomes records of a topic: rows as JSON, one column as the key.

    spark-submit table_to_kafka.py --bootstrap HOST:PORT --topic T --table URI --key id

At least once: Spark's sink has no transactions, so a task that died is written again. Each record has an `id` header,
the row's key, by which whoever reads knows a repeated one: `millrace copy` is the way without repeats.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import array, col, lit, struct, to_json


def main() -> None:
    """Write the table as it is now."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--table", required=True, metavar="URI", help="a file or a folder")
    parser.add_argument("--key", required=True, metavar="COLUMN", help="identifies a row")
    options = parser.parse_args()

    spark = SparkSession.builder.appName(f"table to {options.topic}").getOrCreate()
    rows = spark.read.parquet(options.table)
    key = col(options.key).cast("string")
    identity = struct(lit("id").alias("key"), key.cast("binary").alias("value"))
    records = rows.select(
        key.alias("key"), to_json(struct(*map(col, rows.columns))).alias("value"), array(identity).alias("headers")
    )
    records.write.format("kafka").option("kafka.bootstrap.servers", options.bootstrap).option(
        "topic", options.topic
    ).option("includeHeaders", "true").option("kafka.acks", "all").save()
    spark.stop()


if __name__ == "__main__":
    main()
