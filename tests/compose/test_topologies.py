"""Jobs of Flink and Spark in the stack's containers: a stream that Flink takes over, and a file that Spark scores."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from batch_files import read_output, rows, scored_alone, write

from millrace.codec.reading import read_prediction
from millrace.kafka.reading import Reader
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually
from tests.compose.stack import FEATURES, MODEL, PATIENCE, VOLUME, Stack
from tests.e2e.launcher.stream import beside

SENT = 2_000
ROWS = 20_000

Coordinates = tuple[int, int]
"""Partition and offset."""


def records(stack: Stack) -> set[Coordinates]:
    """What has been sent."""
    with Reader(stack.broker.kafka, FEATURES) as reader:
        return {
            each for batch in reader for each in zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True)
        }


def scored(stack: Stack) -> Counter[Coordinates]:
    """How often each record has been scored: Flink's predictions of records without a key are in any partition."""
    with Reader(stack.broker.kafka, "rain.predictions") as reader:
        sources = [read_prediction(value)["source"] for batch in reader for value in batch.values]
    return Counter((each["partition"], each["offset"]) for each in sources if each["topic"] == FEATURES)


def test_flink_takes_over_a_stream_and_each_record_is_scored_once(stack: Stack, say: Callable[[str], None]) -> None:
    stack.take_from_nodes()
    stack.compose("stop", "scorer")
    stack.up("flink-jobmanager", "flink-taskmanager")
    feed = stack.feed()
    with beside(feed.send):
        eventually(lambda: feed.sent >= SENT, within=PATIENCE, what=f"{SENT} records")
    job = ("score", "--name", "rain", "--until-end", "--parallelism", "2", "--cluster", "flink-jobmanager:8081")
    stack.run("flink-jobmanager", "python", "-m", "millrace_flink", *job)
    stack.compose("stop", "flink-taskmanager", "flink-jobmanager")
    expected = records(stack)
    eventually(lambda: scored(stack).total() >= len(expected), within=PATIENCE, what=f"{len(expected)} predictions")
    assert scored(stack) == Counter(expected)
    say(f"{feed.sent} records by Flink in containers: {len(expected)} in all, 0 lost, 0 duplicated")


def test_spark_scores_a_file_as_one_process_does(stack: Stack, say: Callable[[str], None], tmp_path: Path) -> None:
    table = rows(ROWS)
    write(table, tmp_path / "in" / "rows.parquet")
    stack.up("spark-master", "spark-worker")
    source = stack.put("spark-master", tmp_path / "in", "in")
    there = ("--engine", "spark", "--spark-master", "spark://spark-master:7077", "--split-rows", "5000")
    job = ("--model", MODEL, "--input", source, "--output", f"{VOLUME}/out", "--keep", "id")
    stack.run("spark-master", "millrace-batch", "run", *job, *there)
    stack.get("spark-worker", "out", tmp_path / "out")
    stack.compose("stop", "spark-worker", "spark-master")
    scored = read_output(tmp_path / "out")
    labels, _ = scored_alone(linear_bundle(tmp_path / "bundle", name=MODEL), table)
    assert scored.column("id").to_pylist() == list(range(ROWS))
    assert scored.column("label").to_pylist() == labels
    say(f"{ROWS} rows by Spark in containers, in {len(list((tmp_path / 'out').glob('part-*')))} parts, none twice")
