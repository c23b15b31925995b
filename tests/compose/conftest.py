"""These tests are collected by `make test-compose`, which has a Docker engine; elsewhere there is none to run."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compose.stack import BEHIND, Stack

collect_ignore_glob = [] if os.environ.get("MILLRACE_COMPOSE") else ["test_*.py"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack from nothing: its core, then a deployment, then what stands before and beside that."""
    folder: Path = tmp_path_factory.mktemp("stack")
    made = Stack(secrets.token_urlsafe(32), folder / "prometheus.key")
    made.compose("down", "--volumes")
    try:
        made.up("kafka-1", "kafka-2", "kafka-3", "redis", "launcher-1", "launcher-2")
        made.deploy(folder / "bundle")
        with made.control() as control:
            made.prometheus_key.write_text(control.create_key("prometheus")["key"])
        made.up(*BEHIND)
        yield made
    finally:
        made.compose("down", "--volumes")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints figures and how many seconds they took, whatever pytest captures."""
    begun = time.monotonic()

    def said(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}, {time.monotonic() - begun:.0f} s", end="")  # noqa: T201 -- figures are for people

    return said
