"""Topics to tables and back, on a real broker and a real Spark."""

import json
import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from millrace.client import Client, SendOptions
from millrace.core.records import OutputBatch
from millrace.kafka.jars import fetch
from millrace.kafka.writing import Writer
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

MANY = 200_000
PATIENCE = timedelta(minutes=3)
KEYED = SendOptions(key_field="id")
JOBS = Path(__file__).parents[2] / "jobs"
PYTHON = Path(os.environ["MILLRACE_SPARK_PYTHON"])

CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
"""The newest that Maven has; Spark 4.3 takes it."""

_NOT_IN_SPARK = ("spark-sql-kafka", "spark-token-provider", "kafka-clients", "commons-pool2")


@pytest.fixture(scope="module")
def jars() -> str:
    return ",".join(str(jar) for jar in fetch([CONNECTOR]) if any(name in jar.name for name in _NOT_IN_SPARK))


def command(job: str, jars: str, *arguments: str) -> list[str]:
    return [
        *("env", f"PYSPARK_PYTHON={PYTHON}", str(PYTHON.with_name("spark-submit"))),
        *("--master", "local[2]", "--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2"),
        *("--jars", jars, str(JOBS / job), *arguments),
    ]


def submit(job: str, jars: str, *arguments: str) -> None:
    done = subprocess.run(command(job, jars, *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


def kill_when_there_is(pattern: str, table: Path, job: list[str]) -> None:
    """Run a job, and kill it with all its processes as soon as there is such a file in the table's folder."""
    with subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as running:
        eventually(lambda: any(table.glob(pattern)) or running.poll() is not None, within=PATIENCE)
        assert running.poll() is None, "it ended before it could be killed"
        os.killpg(running.pid, signal.SIGKILL)


def named(table: Path) -> list[str]:
    """The files that the table's own log names."""
    log = (table / "_spark_metadata").glob("[0-9]*")
    paths = [json.loads(line)["path"] for each in log for line in each.read_text().splitlines()[1:]]
    return [path.removeprefix("file://") for path in paths]


def committed(table: Path) -> pa.Table:
    """The rows of these files."""
    return pa.dataset.dataset(named(table)).to_table().sort_by("id")


def test_a_topic_becomes_a_table_that_grows_by_what_is_new(
    broker: Broker, topic: TopicFactory, jars: str, tmp_path: Path
) -> None:
    name = topic("days", partitions=2)
    client = Client(broker.kafka)
    arguments = ("--bootstrap", broker.kafka.bootstrap, "--topic", name, "--schema", "id bigint, score double")
    for first in (0, 500):
        client.send(name, [{"id": number, "score": number / 7} for number in range(first, first + 500)], KEYED)
        submit("kafka_to_table.py", jars, *arguments, "--table", str(tmp_path / "table"))
        table = committed(tmp_path / "table")
        assert table.column("id").to_pylist() == list(range(first + 500))
    assert table.column("key").to_pylist() == [str(number) for number in range(1_000)]
    assert table.column("score").to_pylist() == [number / 7 for number in range(1_000)]


def test_a_job_that_is_killed_while_it_writes_leaves_no_row_out_and_none_twice(
    broker: Broker, topic: TopicFactory, jars: str, tmp_path: Path
) -> None:
    name, table = topic("days", partitions=2), tmp_path / "table"
    Client(broker.kafka).send(name, [{"id": number} for number in range(MANY)], KEYED)
    arguments = ("--bootstrap", broker.kafka.bootstrap, "--topic", name, "--schema", "id bigint", "--table", str(table))
    job = command("kafka_to_table.py", jars, *arguments)
    kill_when_there_is("*.parquet", table, job)
    assert not list((table / "_spark_metadata").glob("[0-9]*")), "what there is counts for nothing yet"
    kill_when_there_is("_spark_metadata/0", table, job)
    submit("kafka_to_table.py", jars, *arguments)
    assert committed(table).column("id").to_pylist() == list(range(MANY))
    assert len(list(table.glob("*.parquet"))) > len(named(table)), "files of the first run, which count for nothing"


def test_a_record_that_is_none_of_the_schema_is_a_row_of_nulls_with_its_coordinates(
    broker: Broker, topic: TopicFactory, jars: str, tmp_path: Path
) -> None:
    name = topic("days")
    values: list[bytes | None] = [b'{"id": 1, "score": 0.5}', b"{", b'{"id": "x"}', None]
    zeros = np.zeros(len(values), np.int64)
    with Writer(broker.kafka) as writer:
        writer.write(OutputBatch(name, zeros.astype(np.int32), zeros, [b"k"] * len(values), values))
        writer.flush()
    arguments = ("--bootstrap", broker.kafka.bootstrap, "--topic", name, "--schema", "id bigint, score double")
    submit("kafka_to_table.py", jars, *arguments, "--table", str(tmp_path / "table"))
    table = pa.dataset.dataset(sorted((tmp_path / "table").glob("*.parquet"))).to_table().sort_by("offset")
    assert table.column("offset").to_pylist() == [0, 1, 2, 3]
    assert table.column("id").to_pylist() == [1, None, None, None]
    assert table.column("score").to_pylist() == [0.5, None, None, None]


def test_a_table_becomes_records_with_an_identity(
    broker: Broker, topic: TopicFactory, jars: str, tmp_path: Path
) -> None:
    name = topic("days", partitions=2)
    pa.parquet.write_table(pa.table({"id": np.arange(300), "score": np.arange(300) / 7}), tmp_path / "days.parquet")
    arguments = ("--bootstrap", broker.kafka.bootstrap, "--topic", name, "--table", str(tmp_path / "days.parquet"))
    submit("table_to_kafka.py", jars, *arguments, "--key", "id")
    submit(
        "kafka_to_table.py", jars, *arguments[:4], "--schema", "id bigint, score double", "--table", f"{tmp_path}/out"
    )
    table = pa.dataset.dataset(sorted((tmp_path / "out").glob("*.parquet"))).to_table().sort_by("id")
    assert table.column("id").to_pylist() == list(range(300))
    assert table.column("score").to_pylist() == [number / 7 for number in range(300)]
