"""How things look, at a fixed width."""

import io

import pytest
from rich.console import Console, RenderableType

from millrace.cli.output import facts, human_bytes, listing, shortened
from millrace.cli.send import sent_document, sent_line
from millrace.cli.watch_view import WatchView, answer, milliseconds
from millrace.client import Link, Prediction, Sent
from millrace.core.records import Coordinates


def shown(what: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def prediction(offset: int, label: str | None = "yes", *, latency_ms: int = 12, degraded: bool = False) -> Prediction:
    return Prediction(
        at=Coordinates("rain.predictions", 0, offset),
        key=b"omaha",
        event_id=f"weather.features-0-{offset}",
        source=Coordinates("weather.features", 0, offset),
        deployment="rain",
        model="weather",
        version=3,
        digest="sha256:ab",
        transform="identity",
        label=label,
        scores={} if label is None else {label: 0.75},
        value=1.25 if label is None else None,
        bins="1",
        event_time_ms=1_000,
        scored_at_ms=1_000 + latency_ms,
        degraded=degraded,
    )


def test_the_live_table() -> None:
    view = WatchView("rain", rows=2, started=0.0)
    view.add([prediction(1), prediction(2, "no"), prediction(3, degraded=True)], 1.0)
    lines = shown(view.render(2.0))
    assert lines[0] == "rain   3 predictions   2/s   p50 12 ms  p99 12 ms"
    assert lines[1] == "yes 67%   no 33%   weather/3"
    assert lines[3].split() == ["event", "key", "answer", "score", "model", "latency"]
    assert lines[4].split() == ["weather.features-0-2", "omaha", "no", "0.750", "weather/3", "12", "ms"]
    assert lines[5].split()[-3:] == ["degraded", "12", "ms"]
    assert len(lines) == 6


def test_the_live_table_says_what_is_wrong() -> None:
    view = WatchView("rain", rows=2, started=0.0)
    view.invalid, view.link = 3, Link.AWAY
    assert shown(view.render(0.0))[0] == "rain   0 predictions   0/s   the broker is away   3 unreadable"


def test_the_live_table_before_anything_came() -> None:
    lines = shown(WatchView("rain", rows=2, started=0.0).render(0.0))
    assert lines[0] == "rain   0 predictions   0/s"
    assert "waiting for predictions" in lines[-1]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_of_the_live_table_is_broken(width: int) -> None:
    view = WatchView("rain", rows=5, started=0.0)
    view.add([prediction(number) for number in range(5)], 1.0)
    assert len(shown(view.render(2.0), width)) == 3 + 1 + 5


def test_the_rate_is_that_of_the_last_seconds() -> None:
    view = WatchView("rain", rows=2, started=0.0)
    view.add([prediction(1)] * 100, 1.0)
    view.add([prediction(1)] * 10, 9.0)
    assert view.rate(10.0) == 2.0
    assert view.total == 110


def test_answers() -> None:
    assert [str(part) for part in answer(prediction(1))] == ["yes", "0.750"]
    assert [str(part) for part in answer(prediction(1, None))] == ["1.25", ""]


@pytest.mark.parametrize(
    ("value", "said"), [(0.4, "0 ms"), (9_999, "9999 ms"), (12_000, "12 s"), (7_200_000, "2.0 h"), (-5, "-5 ms")]
)
def test_latencies_stay_short(value: float, said: str) -> None:
    assert milliseconds(value) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (4_078_588, "4.1 MB")])
def test_sizes(count: int, said: str) -> None:
    assert human_bytes(count) == said


def test_sending_ends_with_a_line() -> None:
    sent = Sent("t", rows=2_000, records=2_000, value_bytes=10_000, elapsed_secs=0.5)
    assert sent_line(sent) == "sent 2,000 records (10.0 kB) to t in 0.5 s, 4,000 rows/s"
    many = Sent("t", rows=2_000, records=2, value_bytes=10_000, elapsed_secs=0.5)
    assert sent_line(many).startswith("sent 2,000 rows in 2 records")
    assert sent_document(sent)["records"] == 2_000


def test_plain_tables_and_facts() -> None:
    table = listing(("name", "count"), [["a", "1"], ["bcd", "20"]], numbers=("count",))
    assert shown(table) == ["name  count", "a         1", "bcd      20"]
    assert shown(facts({"broker": "running", "home": "x"})) == ["broker  running", "home    x"]


def test_digests_are_shortened() -> None:
    assert shortened("sha256:" + "ab" * 32) == "abababababab"
