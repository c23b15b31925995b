"""The story at a small size, on the shared broker; and interrupted, on a broker of its own."""

import signal
import subprocess
import sys
import uuid
from datetime import timedelta
from io import StringIO
from pathlib import Path

import psutil
import pytest
import yaml
from rich.console import Console

from examples.weather.display import TerminalDisplay
from examples.weather.story import Plan, tell
from examples.weather.summary import next_steps, summary
from millrace.core.errors import Reason
from millrace.kafka.broker import LocalBroker
from millrace.process.clock import SystemClock
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """The story's own document, with names that no other test has."""
    document = yaml.safe_load((ROOT / "examples" / "weather" / "deployment.yaml").read_text("utf-8"))
    mark = uuid.uuid4().hex[:8]
    document["deployment"] = f"rain-{mark}"
    document["model"] = f"rain-{mark}@champion"
    document["source"]["topic"] = f"weather-{mark}.features"
    file = tmp_path / "deployment.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


@pytest.mark.timeout(120)
def test_every_record_has_one_fate_and_accuracy_falls(broker: Broker, deployment: Path, tmp_path: Path) -> None:
    plan = Plan(deployment, tmp_path, first=11_000, end=12_600, seconds=5, partitions=2)
    screen = Console(file=StringIO(), width=100, force_terminal=True, record=True)
    clock = SystemClock()
    outcome = tell(plan, kafka=broker.kafka, display=TerminalDisplay(screen, clock), clock=clock)

    assert outcome.recount.agrees
    assert (outcome.recount.records, outcome.recount.predictions, outcome.recount.dead_letters) == (1_606, 1_600, 6)
    assert {letter.reason for letter in outcome.letters} == {
        Reason.TRUNCATED,
        Reason.WRONG_TYPE,
        Reason.MISSING_FIELD,
        Reason.NOT_FINITE,
        Reason.INVALID_UTF8,
        Reason.TOMBSTONE,
    }
    assert outcome.last.predictions == 1_600
    assert (outcome.before.judged, outcome.after.judged) == (1_000, 600)
    assert outcome.before.accuracy > 0.75
    assert outcome.after.accuracy < 0.65
    assert outcome.last.fall is not None
    assert 12_000 < outcome.last.fall.day < 12_400
    assert outcome.latency is not None

    screen.print(summary(outcome), next_steps(tmp_path, outcome))
    said = screen.export_text()
    assert "1,606 records in = 1,600 predictions + 6 dead letters · 0 lost · 0 duplicated" in said
    assert f"it fell: day {outcome.last.fall.day:,}" in said


def test_interrupted_it_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.weather", "--home", str(home), "--seconds", "300"]
    log = tmp_path / "said.txt"
    with log.open("wb") as output:
        story = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        eventually(
            lambda: "Starting the scorer: done" in log.read_text("utf-8") or story.poll() is not None,
            within=timedelta(seconds=90),
            what="a ready scorer",
        )
        children = psutil.Process(story.pid).children(recursive=True)
        story.send_signal(signal.SIGINT)
        assert story.wait(60) == 130, log.read_text("utf-8")
    finally:
        story.kill()
        LocalBroker(home).kill()
    assert children
    assert not [child for child in children if child.is_running()]
    assert not LocalBroker(home).status().running
    assert "Traceback" not in log.read_text("utf-8")
