"""Features with Faust beside the transform over a table: the same rows, whatever came late or out of order."""

import json
import os
import signal
import subprocess
import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from windowed_stream import SEEDS, WindowedStream

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader
from millrace.kafka.writing import BY_KEY, Writer
from millrace.process.clock import SystemClock
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

ROOT = Path(__file__).parents[4]
PARTITIONS = 2


def rows_of_the_topic(broker: Broker, topic: str) -> list[str]:
    try:
        with Reader(broker.kafka, topic) as reader:
            return sorted((value or b"").decode() for batch in reader for value in batch.values)
    except RequestError:  # the worker has not made the topic yet
        return []


@pytest.mark.parametrize("seed", SEEDS)
def test_s24_faust_makes_the_rows_of_the_transform(broker: Broker, tmp_path: Path, seed: int) -> None:
    python = os.environ.get("MILLRACE_FAUST_PYTHON")
    if not python:
        pytest.fail("there is no environment with Faust: run `make test-faust`", pytrace=False)
    name = f"faust-{uuid.uuid4().hex[:8]}"
    source, target = f"{name}.records", f"{name}.hourly"
    Admin(broker.kafka).ensure_topics([TopicSpec(topic, PARTITIONS) for topic in (source, target, f"{target}.dlq")])
    windowed = WindowedStream.of(seed)
    with Writer(broker.kafka) as writer:
        values = [json.dumps(record).encode() for record in windowed.records]
        anywhere = np.full(len(values), BY_KEY, np.int32)
        writer.write(
            OutputBatch(source, anywhere, np.full(len(values), SystemClock().wall_ms()), windowed.keys, values)
        )
        writer.flush()
    transform = tmp_path / "hourly.json"
    transform.write_text(json.dumps(windowed.program.document()))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FEATURES_TRANSFORM": str(transform),
        "FEATURES_FROM": source,
        "FEATURES_TO": target,
        "FEATURES_PARTITIONS": str(PARTITIONS),
        "FAUST_BROKER": broker.kafka.bootstrap,
        "FAUST_DATA": str(tmp_path / "data"),
    }
    expected = windowed.rows(until_end=False)
    with (tmp_path / "faust.log").open("wb") as log:
        worker = subprocess.Popen(
            [python, str(ROOT / "topologies/faust/features.py"), "worker", "--without-web", "--loglevel", "info"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        eventually(
            lambda: len(rows_of_the_topic(broker, target)) >= len(expected),
            within=timedelta(minutes=5),
            what="a row for each window",
        )
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert rows_of_the_topic(broker, target) == expected
