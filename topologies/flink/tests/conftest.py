"""What the tests of the jobs share."""

import os
import uuid
from pathlib import Path

import pytest
from flink_jobs import Flink, environment_of
from scorer_stream import MakeStream, Stream

from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def flink(tmp_path: Path, settings: Settings, broker: Broker) -> Flink:
    python = os.environ.get("MILLRACE_FLINK_PYTHON")
    if not python:
        pytest.fail("there is no environment with Flink: run `make test-flink`", pytrace=False)
    return Flink(Path(python), environment_of(broker, settings), tmp_path / "flink.log")


@pytest.fixture
def stream(broker: Broker, settings: Settings, tmp_path: Path) -> MakeStream:
    def make(*, partitions: int = 1) -> Stream:
        made = Stream(broker, settings, f"f-{uuid.uuid4().hex[:10]}", partitions)
        made.push(tmp_path / f"{made.name}-bundle")
        return made

    return make
