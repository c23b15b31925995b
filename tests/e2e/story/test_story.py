"""The story in a cut that still crosses the change, and interrupted; each on a broker of its own, as launchers are."""

import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from examples.weather.display import TerminalDisplay
from examples.weather.interruption import Interruption
from examples.weather.loop import Kind
from examples.weather.story import Outcome, Plan, tell, write_page
from examples.weather.summary import next_steps, summary
from millrace.core.errors import Reason
from millrace.kafka.broker import LocalBroker
from millrace.process.clock import SystemClock
from millrace.testing.waiting import eventually

ROOT = Path(__file__).parents[3]
WEATHER = ROOT / "examples" / "weather"


FIRST, END = 11_315, 14_000
"""The year of windows before the change is whole, and a year after it is settled."""


def test_the_loop_notices_the_change_and_recovers(own_broker: LocalBroker, tmp_path: Path) -> None:
    plan = Plan(WEATHER, tmp_path, first=FIRST, end=END, partitions=2, port=0)
    screen = Console(file=StringIO(), width=120, force_terminal=True, record=True)
    clock = SystemClock()
    display = TerminalDisplay(screen, clock)
    outcome = tell(plan, kafka=own_broker.kafka, display=display, clock=clock, interruption=Interruption())

    days = END - FIRST
    for counted in (outcome.recount, outcome.frozen_recount):
        assert counted.agrees
        assert (counted.records, counted.predictions, counted.dead_letters) == (days + 6, days, 6)
    assert {letter.reason for letter in outcome.letters} == {
        Reason.TRUNCATED,
        Reason.WRONG_TYPE,
        Reason.MISSING_FIELD,
        Reason.NOT_FINITE,
        Reason.INVALID_UTF8,
        Reason.TOMBSTONE,
    }
    assert [bar for bar in outcome.bars if not bar.is_met] == []
    assert len(outcome.bars) == 4
    before, _, settled = outcome.periods
    assert outcome.frozen_periods[0] == before  # until the change there is one version
    assert before.accuracy > 0.75
    assert settled.accuracy > outcome.frozen_periods[2].accuracy + 0.1
    assert not {"temperature", "min_temperature", "max_temperature"} & named_before_promotion(outcome)

    page = write_page(plan, own_broker.kafka)
    assert "sea_level_pressure" in page.read_text("utf-8")
    screen.print(summary(outcome), next_steps(tmp_path, page, outcome))
    said = screen.export_text()
    assert "2,691 records in = 2,685 predictions + 6 dead letters · 0 lost · 0 duplicated" in said
    assert "version 2 becomes the champion" in said
    assert "✗" not in said.split("what the loop had to reach")[1]


def named_before_promotion(outcome: Outcome) -> set[str]:
    """The features that alerts about the first version name: the seasons alone must name none."""
    alerts = [
        each for each in outcome.loop.happenings if each.kind is Kind.ALERT and not each.what.startswith("version")
    ]
    return {name for each in alerts for name in each.what.partition("drift of ")[2].split(", ")}


@pytest.mark.parametrize(
    "moment",
    ["Starting Kafka: starting", "Training on 4,015 days: done", "Deploying two scorers, auditor, trainer: done"],
)
def test_interrupted_it_leaves_nothing_running(tmp_path: Path, moment: str) -> None:
    home = tmp_path / "demo"
    story = [sys.executable, "-m", "examples.weather", "--home", str(home), "--days-per-sec", "50"]
    # As a script starts what it puts into the background with `&`: SIGINT is ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *story]
    log = tmp_path / "said.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        eventually(
            lambda: moment in log.read_text("utf-8") or process.poll() is not None,
            within=timedelta(minutes=5),
            what=moment,
        )
        assert process.poll() is None, f"it ended by itself: {log.read_text('utf-8')}"
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130, log.read_text("utf-8")
    except subprocess.TimeoutExpired:
        pytest.fail(f"the interrupt was lost: {log.read_text('utf-8')}")
    finally:
        process.kill()
        process.wait()
        left = started_in(home)
        for each in left:
            each.kill()
    assert not left
    assert "Traceback" not in log.read_text("utf-8")


def started_in(home: Path) -> list[psutil.Process]:
    """What runs and belongs to this folder: the broker, the launcher, and everything that it runs."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if any(str(home) in word for word in process.info["cmdline"] or [])
        or (process.info["environ"] or {}).get("MILLRACE_HOME") == str(home)
    ]
