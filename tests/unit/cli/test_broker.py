import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.cli.app import run
from millrace.cli.broker import duration, status_document, status_facts
from millrace.client import BrokerStatus

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUNNING = BrokerStatus(
    running=True,
    home=Path("house"),
    bootstrap="127.0.0.1:9092",
    pid=7,
    started_at=NOW - timedelta(hours=2, minutes=5),
    version="4.3.1",
    cluster_id="abc",
)


def test_a_running_broker_says_where() -> None:
    assert status_facts(RUNNING, NOW) == {
        "broker": "running for 2 h 5 min, process 7",
        "address": "127.0.0.1:9092",
        "kafka": "4.3.1, cluster abc",
        "home": "house",
    }
    assert status_document(RUNNING)["bootstrap"] == "127.0.0.1:9092"


def test_a_stopped_broker_says_how_to_start_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    assert run(["status"]) == 0
    assert "not running; start it with `millrace up`" in capsys.readouterr().out
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert run(["down"]) == 0
    assert "no local broker was running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("span", "said"),
    [(timedelta(0), "0 s"), (timedelta(seconds=61), "1 min 1 s"), (timedelta(days=3, seconds=59), "3 d 59 s")],
)
def test_durations(span: timedelta, said: str) -> None:
    assert duration(span) == said
